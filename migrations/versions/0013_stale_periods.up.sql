-- A week that was restated behind the look-back, and that no run could load yet, is on record until
-- one has loaded it.

ALTER TABLE sqp.refresh_periods ADD COLUMN stale_since timestamptz;
ALTER TABLE sqp.refresh_config ADD COLUMN source_compared_at timestamptz;

COMMENT ON COLUMN sqp.refresh_periods.stale_since IS
    'Since when the source is known to hold something else than the table was made from; null where '
    'it is not known to';
COMMENT ON COLUMN sqp.refresh_config.source_compared_at IS
    'When the weeks behind the look-back were last compared with the source';
