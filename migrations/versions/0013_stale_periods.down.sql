DROP TABLE sqp.refresh_comparisons;
ALTER TABLE sqp.refresh_periods DROP COLUMN stale_since;
