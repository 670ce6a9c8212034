-- What an operator asks next, one view for each question, and the one home of the answer: the
-- command line, the dashboard and Supabase's REST read the same figures here.
--
-- What is told of runs goes back 90 days, which is what the audit log keeps, so archiving older
-- runs changes nothing in any view.

CREATE VIEW sqp.refresh_runs AS
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
  AND refresh_started_at > now() - interval '90 days';

COMMENT ON VIEW sqp.refresh_runs IS
    'The audit log of the last 90 days with what sync_metadata holds as columns: one table in one '
    'run';
COMMENT ON COLUMN sqp.refresh_runs.night IS
    'The day, in UTC, of the tick that the run serves; of its start where it serves none';
COMMENT ON COLUMN sqp.refresh_runs.launched_by IS
    'schedule, sensor, retry (Dagster''s own), or person';
COMMENT ON COLUMN sqp.refresh_runs.tick IS
    'The tick of the schedule that the run serves; null where it serves none';
COMMENT ON COLUMN sqp.refresh_runs.rerun IS
    'How many times its work had been launched before, after failures (count); null is never';
COMMENT ON COLUMN sqp.refresh_runs.forced IS 'Whether it copied also what had not changed';
COMMENT ON COLUMN sqp.refresh_runs.resumes IS 'The run that broke off, which it went on from';
COMMENT ON COLUMN sqp.refresh_runs.completed_at IS 'Null while it is at work';
COMMENT ON COLUMN sqp.refresh_runs.execution_time_ms IS 'Wall time (milliseconds)';
COMMENT ON COLUMN sqp.refresh_runs.weeks_copied IS 'Weeks, or longer periods, published (count)';
COMMENT ON COLUMN sqp.refresh_runs.weeks_skipped IS
    'Weeks, or longer periods, left as they were, because nothing had changed (count)';
COMMENT ON COLUMN sqp.refresh_runs.weeks_rejected IS
    'Weeks not published, because too many rows broke their contract (count)';
COMMENT ON COLUMN sqp.refresh_runs.rows_processed IS 'Rows read or computed (count)';
COMMENT ON COLUMN sqp.refresh_runs.rows_inserted IS 'Rows new to the table (count)';
COMMENT ON COLUMN sqp.refresh_runs.rows_updated IS 'Rows of which a value changed (count)';
COMMENT ON COLUMN sqp.refresh_runs.rows_deleted IS 'Rows that the source no longer has (count)';
COMMENT ON COLUMN sqp.refresh_runs.rows_unchanged IS 'Rows read and found as they are (count)';
COMMENT ON COLUMN sqp.refresh_runs.rows_quarantined IS 'Rows that broke their contract (count)';
COMMENT ON COLUMN sqp.refresh_runs.bytes_billed IS
    'What BigQuery charged its queries for (bytes); null where none was made';
COMMENT ON COLUMN sqp.refresh_runs.error_kind IS
    'transient, quota, settings, credentials, schema, data, operator or code';


-- A run that is still going is no figure yet.
CREATE VIEW sqp.refresh_nightly AS
SELECT
    night,
    table_name,
    count(*) AS runs,
    count(*) FILTER (WHERE status = 'success') AS successes,
    (array_agg(status ORDER BY audit_log_id DESC))[1] AS status,
    (array_agg(error_message ORDER BY audit_log_id DESC))[1] AS error_message,
    min(started_at) AS started_at,
    max(completed_at) AS completed_at,
    sum(execution_time_ms)::bigint AS execution_time_ms,
    sum(weeks_copied)::bigint AS weeks_copied,
    sum(rows_processed)::bigint AS rows_processed,
    sum(rows_inserted)::bigint AS rows_inserted,
    sum(rows_updated)::bigint AS rows_updated,
    sum(rows_deleted)::bigint AS rows_deleted,
    sum(rows_quarantined)::bigint AS rows_quarantined
FROM sqp.refresh_runs
WHERE completed_at IS NOT NULL
GROUP BY night, table_name;

COMMENT ON VIEW sqp.refresh_nightly IS
    'Duration and rows of each table and night, all finished runs of it together; the last 90 days';
COMMENT ON COLUMN sqp.refresh_nightly.night IS 'A day in UTC, as in refresh_runs';
COMMENT ON COLUMN sqp.refresh_nightly.runs IS 'Finished runs that took the table (count)';
COMMENT ON COLUMN sqp.refresh_nightly.successes IS
    'Those that were a success, neither failed nor a warning (count)';
COMMENT ON COLUMN sqp.refresh_nightly.status IS 'How the last of them ended';
COMMENT ON COLUMN sqp.refresh_nightly.error_message IS 'What the last of them said';
COMMENT ON COLUMN sqp.refresh_nightly.execution_time_ms IS 'Wall time (milliseconds)';
COMMENT ON COLUMN sqp.refresh_nightly.weeks_copied IS 'Weeks, or longer periods, published (count)';
COMMENT ON COLUMN sqp.refresh_nightly.rows_processed IS 'Rows read or computed (count)';
COMMENT ON COLUMN sqp.refresh_nightly.rows_inserted IS 'Rows new to the table (count)';
COMMENT ON COLUMN sqp.refresh_nightly.rows_updated IS 'Rows of which a value changed (count)';
COMMENT ON COLUMN sqp.refresh_nightly.rows_deleted IS 'Rows that the source no longer has (count)';
COMMENT ON COLUMN sqp.refresh_nightly.rows_quarantined IS 'Rows that broke their contract (count)';


CREATE VIEW sqp.refresh_retries AS
SELECT
    night,
    table_name,
    count(*) AS runs,
    count(*) FILTER (WHERE status = 'failed') AS failed,
    count(*) FILTER (WHERE launched_by IN ('sensor', 'retry') AND rerun > 0) AS rerun,
    count(*) FILTER (WHERE resumes IS NOT NULL) AS resumed,
    count(*) FILTER (WHERE launched_by = 'person') AS by_hand,
    (array_agg(error_kind ORDER BY audit_log_id DESC) FILTER (WHERE status = 'failed'))[1]
        AS last_error_kind
FROM sqp.refresh_runs
GROUP BY night, table_name
HAVING count(*) FILTER (WHERE status = 'failed' OR rerun > 0 OR resumes IS NOT NULL) > 0;

COMMENT ON VIEW sqp.refresh_retries IS
    'The nights of each table that did not go through at once; the last 90 days';
COMMENT ON COLUMN sqp.refresh_retries.night IS 'A day in UTC, as in refresh_runs';
COMMENT ON COLUMN sqp.refresh_retries.runs IS 'Runs that took the table (count)';
COMMENT ON COLUMN sqp.refresh_retries.failed IS 'Those that failed (count)';
COMMENT ON COLUMN sqp.refresh_retries.rerun IS 'Those that were launched again by themselves (count)';
COMMENT ON COLUMN sqp.refresh_retries.resumed IS
    'Those that went on from a run that broke off (count)';
COMMENT ON COLUMN sqp.refresh_retries.by_hand IS 'Those that a person launched (count)';
COMMENT ON COLUMN sqp.refresh_retries.last_error_kind IS 'What sort of failure the last one was';


CREATE VIEW sqp.refresh_costs AS
SELECT night, table_name, sum(bytes_billed)::bigint AS bytes_billed
FROM sqp.refresh_runs
WHERE bytes_billed IS NOT NULL
GROUP BY night, table_name;

COMMENT ON VIEW sqp.refresh_costs IS
    'What BigQuery charged the queries of each table and night for; the last 90 days';
COMMENT ON COLUMN sqp.refresh_costs.night IS 'A day in UTC, as in refresh_runs';
COMMENT ON COLUMN sqp.refresh_costs.bytes_billed IS
    'Bytes billed; rows that Storage Read sends are billed apart';


-- A rejection holds until a later run publishes the week, or finds it as it was published.
CREATE VIEW sqp.refresh_weeks AS
WITH rejection AS (
    SELECT
        run.id,
        run.table_name,
        week,
        CASE week WHEN 'the whole table' THEN date '0001-01-01' ELSE week::date END AS period_start
    FROM sqp.refresh_audit_log AS run
    CROSS JOIN LATERAL jsonb_array_elements_text(run.sync_metadata->'rejected') AS week
    WHERE run.table_schema = 'sqp'
      AND run.refresh_started_at > now() - interval '90 days'
), rejected AS (
    SELECT table_name, period_start, max(id) AS rejected_by
    FROM rejection
    WHERE NOT EXISTS (
        SELECT FROM sqp.refresh_audit_log AS later
        WHERE later.table_name = rejection.table_name
          AND later.id > rejection.id
          AND later.sync_metadata->'skipped' ? rejection.week
    )
    GROUP BY table_name, period_start
), published AS (
    SELECT * FROM sqp.refresh_periods WHERE table_schema = 'sqp'
), waiting AS (
    SELECT table_name, period_start, count(*) AS waiting_rows
    FROM sqp.refresh_quarantine
    WHERE replayed_at IS NULL
    GROUP BY table_name, period_start
)
SELECT
    table_name,
    period_start,
    coalesce(
        period_end,
        CASE period_start WHEN date '0001-01-01' THEN date '9999-12-31' ELSE period_start + 6 END
    ) AS period_end,
    CASE
        WHEN rejected_by > coalesce(published_by, 0) THEN 'rejected'
        WHEN source_state ? 'doubted' THEN 'doubted'
        WHEN source_state IS NULL THEN 'kept'
        WHEN row_count = 0 THEN 'empty'
        ELSE 'published'
    END AS status,
    coalesce(row_count, 0) AS row_count,
    coalesce(waiting_rows, 0) AS rows_in_quarantine,
    published_at,
    published_by,
    changed_by
FROM published
FULL JOIN rejected USING (table_name, period_start)
LEFT JOIN waiting USING (table_name, period_start);

COMMENT ON VIEW sqp.refresh_weeks IS
    'Every week or longer period of every table, and how it stands; count them by status';
COMMENT ON COLUMN sqp.refresh_weeks.period_start IS
    'First day; 0001-01-01 for a table that is not divided into weeks';
COMMENT ON COLUMN sqp.refresh_weeks.period_end IS 'Last day';
COMMENT ON COLUMN sqp.refresh_weeks.status IS
    'published; empty: the source has no row of it; kept: it became empty in the source and its '
    'rows were kept; doubted: it did not equal the source; rejected: too many rows broke their '
    'contract, what was published before stays';
COMMENT ON COLUMN sqp.refresh_weeks.row_count IS 'Rows in the table (count)';
COMMENT ON COLUMN sqp.refresh_weeks.rows_in_quarantine IS 'Its rows that wait in quarantine (count)';
COMMENT ON COLUMN sqp.refresh_weeks.published_at IS
    'When it was last compared or changed; null where it never was';
COMMENT ON COLUMN sqp.refresh_weeks.published_by IS
    'The run that did, by its id in refresh_audit_log';
COMMENT ON COLUMN sqp.refresh_weeks.changed_by IS
    'The run that last changed a row of it, by its id in refresh_audit_log';


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


CREATE VIEW sqp.refresh_quality AS
SELECT DISTINCT ON (quality.audit_log_id, quality.metric_name)
    run.night,
    run.table_name,
    quality.audit_log_id,
    quality.metric_name,
    quality.metric_value,
    quality.expected_value,
    quality.threshold_min,
    quality.threshold_max,
    quality.is_within_threshold,
    quality.created_at AS measured_at
FROM sqp.refresh_data_quality AS quality
JOIN sqp.refresh_runs AS run ON run.audit_log_id = quality.audit_log_id
ORDER BY quality.audit_log_id, quality.metric_name, quality.id DESC;

COMMENT ON VIEW sqp.refresh_quality IS
    'Each metric of each run as it was last judged; the last 90 days';
COMMENT ON COLUMN sqp.refresh_quality.night IS 'A day in UTC, as in refresh_runs';
COMMENT ON COLUMN sqp.refresh_quality.metric_value IS
    'What Postgres holds, in the unit of the metric';
COMMENT ON COLUMN sqp.refresh_quality.expected_value IS
    'What BigQuery says, in the same unit; null where the metric has no counterpart';
COMMENT ON COLUMN sqp.refresh_quality.is_within_threshold IS
    'Null where there is nothing to judge by';


-- As for the first two views: a reader sees only what the tables beneath would show, from Postgres
-- 15 on, and outsiders see nothing.
DO $$
DECLARE
    made text;
    outsider text;
BEGIN
    FOREACH made IN ARRAY ARRAY[
        'sqp.refresh_runs', 'sqp.refresh_nightly', 'sqp.refresh_retries', 'sqp.refresh_costs',
        'sqp.refresh_weeks', 'sqp.refresh_freshness', 'sqp.refresh_quality'
    ] LOOP
        IF current_setting('server_version_num')::integer >= 150000 THEN
            EXECUTE 'ALTER VIEW ' || made || ' SET (security_invoker = true)';
        END IF;
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
            EXECUTE 'GRANT SELECT ON ' || made || ' TO service_role';
        END IF;
        FOR outsider IN
            SELECT 'PUBLIC'
            UNION ALL
            SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
        LOOP
            EXECUTE 'REVOKE ALL ON ' || made || ' FROM ' || outsider;
        END LOOP;
    END LOOP;
END
$$;
