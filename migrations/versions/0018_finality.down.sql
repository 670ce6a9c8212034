ALTER TABLE sqp.webhook_configs DROP CONSTRAINT webhook_configs_events_are_known;
ALTER TABLE sqp.webhook_configs
    ADD CONSTRAINT webhook_configs_events_are_known CHECK (events <@ ARRAY[
        'refresh.failed', 'refresh.warning', 'refresh.completed', 'quality.failed',
        'refresh.overdue', 'refresh.recovered'
    ]) NOT VALID;
COMMENT ON COLUMN sqp.webhook_configs.events IS 'Events it receives; null is every event';
DROP VIEW sqp.latest_final_week;
DROP VIEW sqp.week_finality;
DROP FUNCTION sqp.week_finality_at(timestamptz);
DROP TABLE sqp.refresh_finality;
DROP TABLE sqp.refresh_week_changes;

-- A view loses a column only by being made anew.
DROP VIEW sqp.refresh_freshness;

CREATE VIEW sqp.refresh_freshness AS
SELECT
    config.table_name,
    config.is_enabled,
    config.priority,
    held.newest_period_start,
    held.newest_period_end,
    CASE WHEN held.newest_period_end IS NOT NULL
        THEN greatest(0, (now() AT TIME ZONE 'UTC')::date - held.newest_period_end)
    END AS days_behind,
    coalesce(held.row_count, 0)::bigint AS row_count,
    config.last_refresh_at,
    runs.last_successful_refresh,
    config.next_refresh_at,
    config.refresh_frequency_hours,
    runs.last_started_at,
    latest.status AS last_status,
    latest.error_message AS last_message
FROM sqp.refresh_config AS config
LEFT JOIN (
    SELECT
        table_name,
        max(period_start) FILTER (WHERE row_count > 0 AND period_end < date '9999-12-31')
            AS newest_period_start,
        max(period_end) FILTER (WHERE row_count > 0 AND period_end < date '9999-12-31')
            AS newest_period_end,
        sum(row_count) AS row_count
    FROM sqp.refresh_periods
    WHERE table_schema = 'sqp'
    GROUP BY table_name
) AS held USING (table_name)
LEFT JOIN (
    SELECT
        table_name,
        max(started_at) AS last_started_at,
        max(completed_at) FILTER (WHERE status = 'success') AS last_successful_refresh,
        max(audit_log_id) FILTER (WHERE completed_at IS NOT NULL) AS audit_log_id
    FROM sqp.refresh_runs
    GROUP BY table_name
) AS runs USING (table_name)
LEFT JOIN sqp.refresh_runs AS latest USING (audit_log_id)
WHERE config.table_schema = 'sqp';

COMMENT ON VIEW sqp.refresh_freshness IS
    'How fresh the data of each registered table are, and when it was and will be refreshed';
COMMENT ON COLUMN sqp.refresh_freshness.newest_period_start IS
    'First day of the newest week, or longer period, that has a row';
COMMENT ON COLUMN sqp.refresh_freshness.newest_period_end IS 'Its last day';
COMMENT ON COLUMN sqp.refresh_freshness.days_behind IS
    'Days since it ended; 0 while it lasts, null for a table without weeks or rows';
COMMENT ON COLUMN sqp.refresh_freshness.row_count IS
    'Rows in the table, as they were last published (count)';
COMMENT ON COLUMN sqp.refresh_freshness.last_refresh_at IS
    'When a refresh last went through, with or without a warning';
COMMENT ON COLUMN sqp.refresh_freshness.last_successful_refresh IS
    'When one last went through without a warning; null where none did in the last 90 days';
COMMENT ON COLUMN sqp.refresh_freshness.next_refresh_at IS 'From when on the table is due';
COMMENT ON COLUMN sqp.refresh_freshness.refresh_frequency_hours IS 'Hours between two refreshes';
COMMENT ON COLUMN sqp.refresh_freshness.last_started_at IS 'When a refresh was last begun';
COMMENT ON COLUMN sqp.refresh_freshness.last_status IS
    'How the last refresh that is over ended: success, warning or failed';
COMMENT ON COLUMN sqp.refresh_freshness.last_message IS 'What it said';

DO $$
DECLARE
    outsider text;
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW sqp.refresh_freshness SET (security_invoker = true);
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT ON sqp.refresh_freshness TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_freshness FROM ' || outsider;
    END LOOP;
END
$$;
