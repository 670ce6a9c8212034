-- A week that was restated behind the look-back, and that no run could load yet, is on record until
-- one has loaded it.

ALTER TABLE sqp.refresh_periods ADD COLUMN stale_since timestamptz;

CREATE TABLE sqp.refresh_comparisons (
    table_schema text NOT NULL DEFAULT 'sqp',
    table_name   text NOT NULL,
    compared_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, table_name)
);

COMMENT ON COLUMN sqp.refresh_periods.stale_since IS
    'Since when the source is known to hold something else than the table was made from; null where '
    'it is not known to';
COMMENT ON TABLE sqp.refresh_comparisons IS
    'When the weeks of each table behind the look-back were last compared with the source';

DO $$
DECLARE
    outsider text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_comparisons TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_comparisons FROM ' || outsider;
    END LOOP;
END
$$;
