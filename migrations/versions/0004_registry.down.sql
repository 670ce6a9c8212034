DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_event_trigger WHERE evtname = 'sqp_register_new_table') THEN
        DROP EVENT TRIGGER sqp_register_new_table;
    END IF;
END
$$;

DROP FUNCTION sqp.register_new_table();

-- What operators registered beside the eight tables is theirs, and stays.
DELETE FROM sqp.refresh_config
WHERE table_schema = 'sqp'
  AND table_name IN (
      'asin_performance_data',
      'search_query_performance',
      'search_performance_summary',
      'daily_sqp_data',
      'weekly_summary',
      'monthly_summary',
      'quarterly_summary',
      'yearly_summary'
  );
