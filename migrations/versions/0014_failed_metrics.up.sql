-- A failed verdict on a period stays until that period is judged again, whatever weeks are judged
-- meanwhile.

ALTER TABLE sqp.refresh_periods ADD COLUMN failed_metrics text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN sqp.refresh_periods.failed_metrics IS
    'Names of the metrics that failed when the period was last judged by them';
COMMENT ON COLUMN sqp.refresh_periods.needs_reload IS
    'Whether it did not equal its source when it was last judged, or somebody else wrote to it, so '
    'that the next refresh of the table loads it again, whatever its weeks';
