-- The first refreshes are an hour apart, in the order in which the tables need each other.
INSERT INTO sqp.refresh_config (table_name, priority, next_refresh_at)
VALUES
    ('asin_performance_data',      100, now() + interval '1 hour'),
    ('search_query_performance',    95, now() + interval '1 hour'),
    ('search_performance_summary',  90, now() + interval '2 hours'),
    ('daily_sqp_data',              85, now() + interval '2 hours'),
    ('weekly_summary',              80, now() + interval '3 hours'),
    ('monthly_summary',             75, now() + interval '3 hours'),
    ('quarterly_summary',           70, now() + interval '4 hours'),
    ('yearly_summary',              65, now() + interval '4 hours')
ON CONFLICT (table_schema, table_name) DO NOTHING;

-- Every summary needs both tables that are filled from BigQuery; daily_sqp_data needs neither.
INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id, dependency_type)
SELECT parent.id, dependent.id, 'hard'
FROM (
    VALUES
        ('asin_performance_data',    'search_performance_summary'),
        ('asin_performance_data',    'weekly_summary'),
        ('asin_performance_data',    'monthly_summary'),
        ('asin_performance_data',    'quarterly_summary'),
        ('asin_performance_data',    'yearly_summary'),
        ('search_query_performance', 'search_performance_summary'),
        ('search_query_performance', 'weekly_summary'),
        ('search_query_performance', 'monthly_summary'),
        ('search_query_performance', 'quarterly_summary'),
        ('search_query_performance', 'yearly_summary')
) AS needed (parent_name, dependent_name)
JOIN sqp.refresh_config AS parent
    ON parent.table_schema = 'sqp' AND parent.table_name = needed.parent_name
JOIN sqp.refresh_config AS dependent
    ON dependent.table_schema = 'sqp' AND dependent.table_name = needed.dependent_name
ON CONFLICT (parent_config_id, dependent_config_id) DO NOTHING;

-- A table that somebody adds to the schema appears in the registry, disabled until an operator says
-- where its rows come from. The function runs with its owner's rights, because whoever may create a
-- table in the schema need not be allowed to write the registry.
CREATE FUNCTION sqp.register_new_table() RETURNS event_trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO sqp.refresh_config (table_schema, table_name, is_enabled)
    SELECT command.schema_name, created.relname, false
    FROM pg_event_trigger_ddl_commands() AS command
    JOIN pg_class AS created ON created.oid = command.objid
    WHERE command.classid = 'pg_class'::regclass
      AND command.schema_name = 'sqp'
      AND created.relkind IN ('r', 'p')
      AND created.relpersistence = 'p'
      AND NOT created.relispartition
      AND created.relname !~ '^(refresh_|webhook_|alembic_version$)'
    ON CONFLICT (table_schema, table_name) DO NOTHING;
END
$$;

REVOKE ALL ON FUNCTION sqp.register_new_table() FROM PUBLIC;

-- Only a superuser may create an event trigger (on Supabase, postgres may too).
DO $$
BEGIN
    CREATE EVENT TRIGGER sqp_register_new_table
        ON ddl_command_end
        WHEN TAG IN ('CREATE TABLE', 'CREATE TABLE AS', 'SELECT INTO')
        EXECUTE FUNCTION sqp.register_new_table();
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'a new table in schema sqp will not register itself, because % may not '
            'create an event trigger; insert its row into sqp.refresh_config', current_user;
END
$$;
