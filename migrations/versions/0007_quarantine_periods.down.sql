DROP INDEX sqp.refresh_quarantine_waiting_idx;
ALTER TABLE sqp.refresh_quarantine DROP COLUMN period_start;
CREATE INDEX refresh_quarantine_waiting_idx
    ON sqp.refresh_quarantine (table_name, created_at) WHERE replayed_at IS NULL;

COMMENT ON COLUMN sqp.refresh_quarantine.replayed_at IS
    'When the row was accepted after all; null while it waits';
