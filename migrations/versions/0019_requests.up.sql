-- Refreshes that are asked for in SQL, how things stand as one row, the audit rows of the user's
-- materialized views, and parameters of a table that nobody knows.

-- A materialized view is no table that the nights are to refresh: it is counted with none of them.
CREATE OR REPLACE VIEW sqp.refresh_runs AS
SELECT
    id AS audit_log_id,
    table_name,
    (coalesce((sync_metadata->>'tick')::timestamptz, refresh_started_at) AT TIME ZONE 'UTC')::date
        AS night,
    sync_metadata->>'run_id' AS run_id,
    sync_metadata->>'launched_by' AS launched_by,
    (sync_metadata->>'tick')::timestamptz AS tick,
    (sync_metadata->>'rerun')::integer AS rerun,
    (sync_metadata->>'forced')::boolean AS forced,
    sync_metadata->>'resumes' AS resumes,
    refresh_started_at AS started_at,
    refresh_completed_at AS completed_at,
    status,
    execution_time_ms,
    jsonb_array_length(sync_metadata->'weeks') AS weeks_copied,
    jsonb_array_length(sync_metadata->'skipped') AS weeks_skipped,
    jsonb_array_length(sync_metadata->'rejected') AS weeks_rejected,
    rows_processed,
    rows_inserted,
    rows_updated,
    rows_deleted,
    (sync_metadata->>'unchanged')::bigint AS rows_unchanged,
    (sync_metadata->>'quarantined')::bigint AS rows_quarantined,
    (sync_metadata->>'bytes_billed')::bigint AS bytes_billed,
    error_message,
    error_details->>'kind' AS error_kind
FROM sqp.refresh_audit_log
WHERE table_schema = 'sqp'
  AND refresh_started_at > now() - interval '90 days'
  AND NOT sync_metadata ? 'materialized_view';

CREATE OR REPLACE VIEW sqp.refresh_success_rate AS
SELECT
    table_name,
    count(*) FILTER (WHERE status = 'success') * 100.0 / count(*) AS success_rate,
    avg(execution_time_ms) AS avg_execution_time_ms,
    max(refresh_completed_at) FILTER (WHERE status = 'success') AS last_successful_refresh
FROM sqp.refresh_audit_log
WHERE status <> 'running'
  AND refresh_started_at > now() - interval '7 days'
  AND NOT sync_metadata ? 'materialized_view'
GROUP BY table_name;

-- CREATE OR REPLACE takes a view's options away.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW sqp.refresh_runs SET (security_invoker = true);
        ALTER VIEW sqp.refresh_success_rate SET (security_invoker = true);
    END IF;
END
$$;


-- Parameters of a table ---------------------------------------------------------------------------

-- A row that already has an unknown one could not be updated any more, not even by its refresh.
DO $$
DECLARE
    unknown record;
BEGIN
    FOR unknown IN
        SELECT config.table_name, string_agg(quote_literal(name), ', ' ORDER BY name) AS names
        FROM sqp.refresh_config AS config
        CROSS JOIN LATERAL jsonb_object_keys(config.custom_sync_params) AS name
        WHERE name <> ALL (ARRAY[
            'batch_size', 'lookback_weeks', 'writers', 'quality', 'max_delete_ratio', 'source_table',
            'key', 'columns', 'week_column'
        ])
        GROUP BY config.table_name ORDER BY config.table_name LIMIT 1
    LOOP
        RAISE EXCEPTION
            'custom_sync_params of % has parameters that there are not: %; correct them, or take them out by UPDATE sqp.refresh_config SET custom_sync_params = custom_sync_params - ARRAY[%] WHERE table_name = %; then migrate again',
            unknown.table_name, unknown.names, unknown.names, quote_literal(unknown.table_name)
            USING ERRCODE = 'check_violation';
    END LOOP;
END
$$;

ALTER TABLE sqp.refresh_config ADD CONSTRAINT refresh_config_knows_each_parameter CHECK (
    CASE jsonb_typeof(custom_sync_params) WHEN 'object' THEN
        custom_sync_params - ARRAY[
            'batch_size', 'lookback_weeks', 'writers', 'quality', 'max_delete_ratio', 'source_table',
            'key', 'columns', 'week_column'
        ] = '{}'
    END
);


-- Requests ----------------------------------------------------------------------------------------

CREATE TABLE sqp.refresh_requests (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tables           text[],
    first_week       date,
    last_week        date,
    force            boolean NOT NULL DEFAULT false,
    status           text NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'launched', 'done', 'failed')),
    run              text,
    message          text,
    expected_seconds numeric(12,1),
    requested_by     text NOT NULL DEFAULT current_user,
    requested_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    launched_at      timestamptz,
    completed_at     timestamptz
);

CREATE INDEX refresh_requests_unsettled ON sqp.refresh_requests (id)
    WHERE status IN ('pending', 'launched');

COMMENT ON TABLE sqp.refresh_requests IS
    'One refresh that somebody asked for with request_refresh, and what became of it';
COMMENT ON COLUMN sqp.refresh_requests.tables IS 'The tables to refresh; null is every enabled one';
COMMENT ON COLUMN sqp.refresh_requests.first_week IS
    'Sunday of the first week; null with last_week is the look-back, or with force every published week';
COMMENT ON COLUMN sqp.refresh_requests.last_week IS
    'Sunday of the last week; null with a first_week is the newest week that has ended';
COMMENT ON COLUMN sqp.refresh_requests.force IS 'Whether to copy also what has not changed';
COMMENT ON COLUMN sqp.refresh_requests.status IS
    'pending: not launched yet; launched: its run waits or is at work; done or failed: as its run ended';
COMMENT ON COLUMN sqp.refresh_requests.run IS
    'The run in Dagster that refreshes it, or its last re-run; null before there is one';
COMMENT ON COLUMN sqp.refresh_requests.message IS 'What it waits for, what it did, or why it failed';
COMMENT ON COLUMN sqp.refresh_requests.expected_seconds IS
    'How long its tables took on average in their last seven runs (seconds); null without one';
COMMENT ON COLUMN sqp.refresh_requests.requested_by IS 'The user of the database who asked';
COMMENT ON COLUMN sqp.refresh_requests.requested_at IS 'When it was asked for';
COMMENT ON COLUMN sqp.refresh_requests.launched_at IS 'When its run was asked of Dagster';
COMMENT ON COLUMN sqp.refresh_requests.completed_at IS 'When its run was seen to have ended';

-- It runs with the rights of whoever calls it, who needs those to the tables that it names.
CREATE FUNCTION sqp.request_refresh(
    tables text[] DEFAULT NULL,
    first_week date DEFAULT NULL,
    last_week date DEFAULT NULL,
    force boolean DEFAULT false
) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $function$
DECLARE
    named text;
    week date;
    enabled text[];
    request_id bigint;
BEGIN
    SELECT array_agg(table_name ORDER BY priority DESC, table_name) INTO enabled
    FROM sqp.refresh_config WHERE table_schema = 'sqp' AND is_enabled;
    IF enabled IS NULL THEN
        RAISE EXCEPTION 'every table is disabled; set is_enabled = true in sqp.refresh_config for one'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF tables = '{}' THEN
        RAISE EXCEPTION 'tables is empty; name tables, or leave it out for every enabled one'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOREACH named IN ARRAY coalesce(tables, '{}') LOOP
        IF NOT EXISTS (
            SELECT FROM sqp.refresh_config WHERE table_schema = 'sqp' AND table_name = named
        ) OR named IS NULL THEN
            RAISE EXCEPTION 'there is no table % in sqp.refresh_config; choose from %',
                coalesce(quote_literal(named), 'null'), array_to_string(enabled, ', ')
                USING ERRCODE = 'invalid_parameter_value';
        ELSIF named <> ALL (enabled) THEN
            RAISE EXCEPTION '% is disabled; set is_enabled = true in sqp.refresh_config to refresh it',
                named USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
    FOREACH week IN ARRAY array_remove(ARRAY[first_week, last_week], NULL) LOOP
        IF NOT isfinite(week) THEN
            RAISE EXCEPTION '% is no week; name the Sunday on which it begins', week
                USING ERRCODE = 'invalid_parameter_value';
        ELSIF extract(dow FROM week) <> 0 THEN
            RAISE EXCEPTION '% is no Sunday, and a week begins on one; its week is that of %',
                week, week - extract(dow FROM week)::integer
                USING ERRCODE = 'invalid_parameter_value';
        ELSIF week + 7 > (clock_timestamp() AT TIME ZONE 'UTC')::date THEN
            RAISE EXCEPTION 'the week of % has not ended yet; the newest that has is that of %',
                week, (
                    SELECT day - extract(dow FROM day)::integer - 7
                    FROM (SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date AS day) AS today
                ) USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
    IF first_week > last_week THEN
        RAISE EXCEPTION 'first_week % is later than last_week %; exchange them', first_week, last_week
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    INSERT INTO sqp.refresh_requests (tables, first_week, last_week, force, expected_seconds)
    SELECT request_refresh.tables, request_refresh.first_week, request_refresh.last_week,
        coalesce(request_refresh.force, false), sum(average.seconds)
    FROM (
        SELECT avg(execution_time_ms) / 1000 AS seconds
        FROM (
            SELECT table_name, execution_time_ms,
                row_number() OVER (PARTITION BY table_name ORDER BY audit_log_id DESC) AS age
            FROM sqp.refresh_runs
            WHERE status IN ('success', 'warning') AND completed_at IS NOT NULL
                AND table_name = ANY (coalesce(request_refresh.tables, enabled))
        ) AS past
        WHERE age <= 7
        GROUP BY table_name
    ) AS average
    RETURNING id INTO request_id;
    RETURN request_id;
END
$function$;

COMMENT ON FUNCTION sqp.request_refresh(text[], date, date, boolean) IS
    'Ask for a refresh, which the sensor requested_refreshes launches: of some tables, or every enabled one; from the week of one Sunday to that of another, or over the look-back; with force, also of what has not changed. Returns its id in refresh_requests';


-- How things stand --------------------------------------------------------------------------------

-- When the nights are, only their past tells: a table is late when it has been due for longer than
-- there ever was between two of them, and for an hour more.
CREATE VIEW sqp.refresh_status AS
WITH nights AS (
    SELECT tick, tick - lag(tick) OVER (ORDER BY tick) AS pause
    FROM (SELECT DISTINCT tick FROM sqp.refresh_runs WHERE tick IS NOT NULL) AS served
), enabled AS (
    SELECT * FROM sqp.refresh_freshness WHERE is_enabled
), materialized AS (
    SELECT DISTINCT ON (table_schema, table_name) table_schema, table_name, status, error_message
    FROM sqp.refresh_audit_log AS run
    WHERE sync_metadata ? 'materialized_view' AND refresh_started_at > now() - interval '8 days'
        AND EXISTS (
            SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
            WHERE relkind = 'm' AND nspname = run.table_schema AND relname = run.table_name
        )
    ORDER BY table_schema, table_name, id DESC
), problems (severity, place, why) AS (
    SELECT 2, 0, 'every table is disabled' WHERE NOT EXISTS (SELECT FROM enabled)
    UNION ALL
    SELECT 2, 1, table_name || ' failed: ' || coalesce(last_message, 'it does not say why')
    FROM enabled WHERE last_status = 'failed'
    UNION ALL
    SELECT 2, 2, table_name || ' has been due since '
        || to_char(next_refresh_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
    FROM enabled
    WHERE isfinite(next_refresh_at) AND next_refresh_at < now() - interval '1 hour'
        - greatest(interval '24 hours', (SELECT max(pause) FROM nights))
    UNION ALL
    SELECT 1, 3, table_name || ' is a warning: ' || coalesce(last_message, 'it does not say why')
    FROM enabled WHERE last_status = 'warning'
    UNION ALL
    SELECT 1, 4, table_name || ' was not refreshed in the last 90 days'
    FROM enabled WHERE last_status IS NULL
    UNION ALL
    SELECT 1, 5, period.table_name || ' fails ' || string_agg(DISTINCT metric, ', ')
        || ' in ' || count(DISTINCT period.period_start) || ' of its periods'
    FROM sqp.refresh_periods AS period
    CROSS JOIN LATERAL unnest(period.failed_metrics) AS metric
    JOIN enabled ON enabled.table_name = period.table_name
    WHERE period.table_schema = 'sqp'
    GROUP BY period.table_name
    UNION ALL
    SELECT 1, 6, 'materialized view ' || table_schema || '.' || table_name || ': ' || error_message
    FROM materialized WHERE status <> 'success'
    UNION ALL
    SELECT 1, 7, 'request ' || min(id) || ' waits since '
        || to_char(min(requested_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC'
    FROM sqp.refresh_requests
    WHERE status = 'pending' AND run IS NULL AND message IS NULL
        AND requested_at < now() - interval '10 minutes'
    HAVING count(*) > 0
)
SELECT
    CASE coalesce(max(severity), 0) WHEN 0 THEN 'healthy' WHEN 1 THEN 'degraded' ELSE 'failing' END
        AS status,
    coalesce(string_agg(why, '; ' ORDER BY severity DESC, place, why),
        'every enabled table was refreshed as it should be') AS why,
    coalesce(
        (SELECT max(tick) FROM nights),
        (SELECT max(started_at) FROM sqp.refresh_runs WHERE completed_at IS NOT NULL)
    ) AS last_night,
    (SELECT min(next_refresh_at) FILTER (WHERE isfinite(next_refresh_at)) FROM enabled) AS next_night,
    (SELECT max(week) FROM sqp.latest_final_week) AS newest_final_week
FROM problems;

COMMENT ON VIEW sqp.refresh_status IS
    'How things stand, as one row: the health check over REST';
COMMENT ON COLUMN sqp.refresh_status.status IS
    'failing: a table failed, is overdue, or all are disabled; degraded: there is something to look at; healthy';
COMMENT ON COLUMN sqp.refresh_status.why IS 'Each reason, the worst first';
COMMENT ON COLUMN sqp.refresh_status.last_night IS
    'Tick of the schedule that a run last served; start of the last refresh where none ever did';
COMMENT ON COLUMN sqp.refresh_status.next_night IS
    'From when on an enabled table is due; the schedule''s next tick from then on refreshes it';
COMMENT ON COLUMN sqp.refresh_status.newest_final_week IS
    'Sunday of the newest week that is final, in any marketplace; null where none is';

DO $$
DECLARE
    outsider text;
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW sqp.refresh_status SET (security_invoker = true);
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_requests TO service_role;
        GRANT USAGE, SELECT ON SEQUENCE sqp.refresh_requests_id_seq TO service_role;
        GRANT SELECT ON sqp.refresh_status TO service_role;
        GRANT EXECUTE ON FUNCTION sqp.request_refresh(text[], date, date, boolean) TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_requests, sqp.refresh_status FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON SEQUENCE sqp.refresh_requests_id_seq FROM ' || outsider;
        EXECUTE 'REVOKE ALL ON FUNCTION sqp.request_refresh(text[], date, date, boolean) FROM '
            || outsider;
    END LOOP;
END
$$;
