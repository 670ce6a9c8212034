ALTER TABLE sqp.refresh_config DROP COLUMN source_compared_at;
ALTER TABLE sqp.refresh_periods DROP COLUMN stale_since;
