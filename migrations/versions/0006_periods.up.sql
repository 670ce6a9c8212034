-- What each week or period was made of when it was last published, so that a night costs what has
-- changed and not what exists: a period whose source and whose rows are as they were is skipped.

CREATE TABLE sqp.refresh_periods (
    table_schema text NOT NULL DEFAULT 'sqp',
    table_name   text NOT NULL,
    period_start date NOT NULL,
    period_end   date NOT NULL CHECK (period_end >= period_start),
    source_state jsonb CHECK (jsonb_typeof(source_state) = 'object'),
    target_state text NOT NULL,
    row_count    bigint NOT NULL CHECK (row_count >= 0),
    -- Runs are archived one day, so these are no foreign keys.
    changed_by   bigint NOT NULL,
    published_by bigint NOT NULL,
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, table_name, period_start)
);

COMMENT ON TABLE sqp.refresh_periods IS
    'One week or period of a table as it was last published; delete a row to have it copied again';
COMMENT ON COLUMN sqp.refresh_periods.source_state IS
    'What the period was made from: counts, sums and a fingerprint; null copies it every time';
COMMENT ON COLUMN sqp.refresh_periods.target_state IS
    'Fingerprint of the rows in the table, by which an edit made by somebody else is found';
COMMENT ON COLUMN sqp.refresh_periods.row_count IS 'Rows in the table (count)';
COMMENT ON COLUMN sqp.refresh_periods.changed_by IS
    'The run, by its id in refresh_audit_log, that last changed a row of the period';
COMMENT ON COLUMN sqp.refresh_periods.published_by IS
    'The run, by its id in refresh_audit_log, that last compared or changed the period';

DO $$
DECLARE
    outsider text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_periods TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_periods FROM ' || outsider;
    END LOOP;
END
$$;
