-- A run that is still going says nothing yet, so neither view counts it.

CREATE VIEW sqp.refresh_success_rate AS
SELECT
    table_name,
    count(*) FILTER (WHERE status = 'success') * 100.0 / count(*) AS success_rate,
    avg(execution_time_ms) AS avg_execution_time_ms,
    max(refresh_completed_at) FILTER (WHERE status = 'success') AS last_successful_refresh
FROM sqp.refresh_audit_log
WHERE status <> 'running'
  AND refresh_started_at > now() - interval '7 days'
GROUP BY table_name;

COMMENT ON VIEW sqp.refresh_success_rate IS
    'How the refreshes of each table went in the last seven days';
COMMENT ON COLUMN sqp.refresh_success_rate.success_rate IS
    'Finished runs that were a success, neither failed nor a warning (percent)';
COMMENT ON COLUMN sqp.refresh_success_rate.avg_execution_time_ms IS
    'Mean wall time of the finished runs (milliseconds)';
COMMENT ON COLUMN sqp.refresh_success_rate.last_successful_refresh IS
    'When the latest success ended; null where the seven days hold none';

-- A metric with nothing to judge it by is neither passed nor failed, and is left out.
CREATE VIEW sqp.data_quality_overview AS
SELECT
    quality.metric_name,
    count(*) FILTER (WHERE quality.is_within_threshold) * 100.0 / count(*) AS pass_rate,
    count(*) AS total_checks
FROM sqp.refresh_data_quality AS quality
JOIN sqp.refresh_audit_log AS run ON run.id = quality.audit_log_id
WHERE quality.is_within_threshold IS NOT NULL
  AND run.status <> 'running'
  AND run.refresh_started_at > now() - interval '7 days'
GROUP BY quality.metric_name;

COMMENT ON VIEW sqp.data_quality_overview IS
    'How the checks of the data went in the last seven days';
COMMENT ON COLUMN sqp.data_quality_overview.pass_rate IS
    'Checks within their thresholds (percent)';
COMMENT ON COLUMN sqp.data_quality_overview.total_checks IS 'Checks that were judged (count)';

-- With this a view shows a reader only what the tables beneath would. Postgres 14 does not have it;
-- there the views are kept from outsiders by their privileges alone.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW sqp.refresh_success_rate SET (security_invoker = true);
        ALTER VIEW sqp.data_quality_overview SET (security_invoker = true);
    END IF;
END
$$;
