ALTER TABLE sqp.refresh_periods DROP COLUMN proof_sha256;
DROP TABLE sqp.refresh_proofs;
