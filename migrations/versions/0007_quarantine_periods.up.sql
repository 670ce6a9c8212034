-- A week that is read again says anew which of its rows are bad, and settles what it said before.

ALTER TABLE sqp.refresh_quarantine ADD COLUMN period_start date;

DROP INDEX sqp.refresh_quarantine_waiting_idx;
CREATE INDEX refresh_quarantine_waiting_idx
    ON sqp.refresh_quarantine (table_name, period_start) WHERE replayed_at IS NULL;

COMMENT ON COLUMN sqp.refresh_quarantine.period_start IS
    'First day of the week that the row belongs to';
COMMENT ON COLUMN sqp.refresh_quarantine.replayed_at IS
    'When its week was read and judged again; null while it waits';
