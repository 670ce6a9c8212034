DROP VIEW sqp.refresh_status;
DROP FUNCTION sqp.request_refresh(text[], date, date, boolean);
DROP TABLE sqp.refresh_requests;
ALTER TABLE sqp.refresh_config DROP CONSTRAINT refresh_config_knows_each_parameter;

CREATE OR REPLACE VIEW sqp.refresh_success_rate AS
SELECT
    table_name,
    count(*) FILTER (WHERE status = 'success') * 100.0 / count(*) AS success_rate,
    avg(execution_time_ms) AS avg_execution_time_ms,
    max(refresh_completed_at) FILTER (WHERE status = 'success') AS last_successful_refresh
FROM sqp.refresh_audit_log
WHERE status <> 'running'
  AND refresh_started_at > now() - interval '7 days'
GROUP BY table_name;

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
  AND refresh_started_at > now() - interval '90 days';

DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW sqp.refresh_runs SET (security_invoker = true);
        ALTER VIEW sqp.refresh_success_rate SET (security_invoker = true);
    END IF;
END
$$;
