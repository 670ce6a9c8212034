-- Periods that stay as they are until somebody unpins them, and what is known of weeks of which so
-- much changed in the source that nothing is published before somebody says so, or it has lasted.

CREATE TABLE sqp.refresh_pins (
    table_schema text NOT NULL DEFAULT 'sqp',
    table_name   text NOT NULL,
    period_start date NOT NULL,
    reason       text NOT NULL,
    pinned_by    text NOT NULL DEFAULT session_user,
    pinned_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, table_name, period_start)
);

ALTER TABLE sqp.refresh_periods ADD COLUMN held_state text;
ALTER TABLE sqp.refresh_periods ADD COLUMN held_nights date[] NOT NULL DEFAULT '{}';
ALTER TABLE sqp.refresh_periods ADD COLUMN accepts_any_change boolean NOT NULL DEFAULT false;

COMMENT ON TABLE sqp.refresh_pins IS
    'One period that no refresh copies, whatever its source says, until it is unpinned';
COMMENT ON COLUMN sqp.refresh_pins.period_start IS 'First day of the week or period';
COMMENT ON COLUMN sqp.refresh_pins.reason IS 'Why it is pinned, for people';
COMMENT ON COLUMN sqp.refresh_pins.pinned_by IS 'Who pinned it: a run, or a user of the database';
COMMENT ON COLUMN sqp.refresh_pins.pinned_at IS 'When it was pinned';
COMMENT ON COLUMN sqp.refresh_periods.held_state IS
    'Hash of the state of the source that is held back; null where none is';
COMMENT ON COLUMN sqp.refresh_periods.held_nights IS
    'The days, in UTC, on which a refresh held this state of the source back';
COMMENT ON COLUMN sqp.refresh_periods.accepts_any_change IS
    'Whether the next refresh may change any share of its rows, because it was unpinned';

DO $$
DECLARE
    outsider text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_pins TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_pins FROM ' || outsider;
    END LOOP;
END
$$;
