COMMENT ON COLUMN sqp.refresh_periods.needs_reload IS
    'Whether it did not equal its source, so that the next refresh loads it again';

ALTER TABLE sqp.refresh_periods DROP COLUMN failed_metrics;
