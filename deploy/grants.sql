-- The rights of the role that refreshes, and no others: it owns nothing, creates nothing that lasts,
-- truncates nothing. Run as the owner of the schema, after `sqp-refresh migrate`:
--   psql "$OWNER_URL" --set role=sqp_refresher --file deploy/grants.sql
-- and --set schema=… where SQP_SCHEMA is set. The role exists already:
--   CREATE ROLE sqp_refresher LOGIN PASSWORD '…';
\if :{?schema}
\else
    \set schema sqp
\endif
BEGIN;
SET LOCAL search_path TO pg_catalog, pg_temp;

-- A week is staged in a temporary table, which the end of its transaction drops.
SELECT current_database() AS target \gset
GRANT CONNECT, TEMPORARY ON DATABASE :"target" TO :"role";
GRANT USAGE ON SCHEMA :"schema" TO :"role";

GRANT SELECT, INSERT, UPDATE, DELETE ON
    :"schema".asin_performance_data,
    :"schema".search_query_performance,
    :"schema".search_performance_summary,
    :"schema".daily_sqp_data,
    :"schema".weekly_summary,
    :"schema".monthly_summary,
    :"schema".quarterly_summary,
    :"schema".yearly_summary
TO :"role";

-- What it remembers of its work.
GRANT SELECT, INSERT, UPDATE, DELETE ON
    :"schema".refresh_audit_log,
    :"schema".refresh_audit_log_archive,
    :"schema".refresh_checkpoints,
    :"schema".refresh_comparisons,
    :"schema".refresh_data_quality,
    :"schema".refresh_indexes,
    :"schema".refresh_periods,
    :"schema".refresh_pins,
    :"schema".refresh_quarantine,
    :"schema".webhook_deliveries
TO :"role";

-- A certificate is written once.
GRANT SELECT, INSERT ON :"schema".refresh_proofs TO :"role";

-- What a row was before a change is written once, deleted when it is old, and read to go back to it.
GRANT SELECT, INSERT, DELETE ON :"schema".refresh_history TO :"role";
GRANT EXECUTE ON FUNCTION :"schema".as_of(text, date, timestamptz) TO :"role";

-- When weeks came and changed, and when the source was looked at.
GRANT SELECT, INSERT ON :"schema".refresh_week_changes TO :"role";
GRANT SELECT, INSERT, UPDATE ON :"schema".refresh_finality TO :"role";
GRANT EXECUTE ON FUNCTION :"schema".week_finality_at(timestamptz) TO :"role";

-- Requests are entered by others. It settles them, and deletes old ones.
GRANT SELECT, UPDATE, DELETE ON :"schema".refresh_requests TO :"role";

-- What operators tell it. It notes when a table was refreshed and is due; it registers none.
GRANT SELECT, UPDATE ON :"schema".refresh_config TO :"role";
GRANT SELECT ON
    :"schema".refresh_dependencies,
    :"schema".refresh_mutes,
    :"schema".refresh_switches,
    :"schema".webhook_configs,
    :"schema".alembic_version,
    :"schema".refresh_success_rate,
    :"schema".data_quality_overview,
    :"schema".refresh_runs,
    :"schema".refresh_status,
    :"schema".refresh_nightly,
    :"schema".refresh_retries,
    :"schema".refresh_costs,
    :"schema".refresh_weeks,
    :"schema".refresh_freshness,
    :"schema".refresh_quality,
    :"schema".restatements,
    :"schema".week_finality,
    :"schema".latest_final_week
TO :"role";

COMMIT;
