ALTER TABLE sqp.refresh_periods DROP COLUMN row_fingerprints;

COMMENT ON COLUMN sqp.refresh_periods.target_state IS
    'Fingerprint of the rows in the table, by which an edit made by somebody else is found';
