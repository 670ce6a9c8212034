DROP VIEW sqp.refresh_quality;
DROP VIEW sqp.refresh_freshness;
DROP VIEW sqp.refresh_weeks;
DROP VIEW sqp.refresh_costs;
DROP VIEW sqp.refresh_retries;
DROP VIEW sqp.refresh_nightly;
DROP VIEW sqp.refresh_runs;
