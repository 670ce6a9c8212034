-- What tells the rows of a published week apart, so that a week that is read again sends only the
-- rows that Postgres does not have.

ALTER TABLE sqp.refresh_periods ADD COLUMN row_fingerprints bytea;
-- Hashes do not compress.
ALTER TABLE sqp.refresh_periods ALTER COLUMN row_fingerprints SET STORAGE EXTERNAL;

COMMENT ON COLUMN sqp.refresh_periods.target_state IS
    'Fingerprint of where the rows lie and which transaction wrote them, by which any write of '
    'somebody else is found';
COMMENT ON COLUMN sqp.refresh_periods.row_fingerprints IS
    'A fingerprint of each row as it was read; null where the next refresh compares them all';
