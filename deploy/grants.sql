-- The rights of the role that refreshes, and no others: it owns nothing, creates nothing that lasts,
-- truncates nothing. Run as the owner of schema sqp, after `sqp-refresh migrate`:
--   psql "$OWNER_URL" --set role=sqp_refresher --file deploy/grants.sql
-- The role exists already: CREATE ROLE sqp_refresher LOGIN PASSWORD '…';
BEGIN;
SET LOCAL search_path TO pg_catalog, pg_temp;

-- A week is staged in a temporary table, which the end of its transaction drops.
SELECT current_database() AS target \gset
GRANT CONNECT, TEMPORARY ON DATABASE :"target" TO :"role";
GRANT USAGE ON SCHEMA sqp TO :"role";

GRANT SELECT, INSERT, UPDATE, DELETE ON
    sqp.asin_performance_data,
    sqp.search_query_performance,
    sqp.search_performance_summary,
    sqp.daily_sqp_data,
    sqp.weekly_summary,
    sqp.monthly_summary,
    sqp.quarterly_summary,
    sqp.yearly_summary
TO :"role";

-- What it remembers of its work.
GRANT SELECT, INSERT, UPDATE, DELETE ON
    sqp.refresh_audit_log,
    sqp.refresh_audit_log_archive,
    sqp.refresh_checkpoints,
    sqp.refresh_comparisons,
    sqp.refresh_data_quality,
    sqp.refresh_indexes,
    sqp.refresh_periods,
    sqp.refresh_pins,
    sqp.refresh_quarantine,
    sqp.webhook_deliveries
TO :"role";

-- A certificate is written once.
GRANT SELECT, INSERT ON sqp.refresh_proofs TO :"role";

-- What a row was before a change is written once, deleted when it is old, and read to go back to it.
GRANT SELECT, INSERT, DELETE ON sqp.refresh_history TO :"role";
GRANT EXECUTE ON FUNCTION sqp.as_of(text, date, timestamptz) TO :"role";

-- What operators tell it. It notes when a table was refreshed and is due; it registers none.
GRANT SELECT, UPDATE ON sqp.refresh_config TO :"role";
GRANT SELECT ON
    sqp.refresh_dependencies,
    sqp.webhook_configs,
    sqp.alembic_version,
    sqp.refresh_success_rate,
    sqp.data_quality_overview,
    sqp.refresh_runs,
    sqp.refresh_nightly,
    sqp.refresh_retries,
    sqp.refresh_costs,
    sqp.refresh_weeks,
    sqp.refresh_freshness,
    sqp.refresh_quality,
    sqp.restatements
TO :"role";

COMMIT;
