-- A first load is faster into a table without its indexes; what they were is kept here meanwhile.

CREATE TABLE sqp.refresh_indexes (
    table_schema text NOT NULL DEFAULT 'sqp',
    table_name   text NOT NULL,
    index_name   text NOT NULL,
    column_names text[] NOT NULL CHECK (cardinality(column_names) > 0),
    set_aside_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (table_schema, index_name)
);

COMMENT ON TABLE sqp.refresh_indexes IS
    'Indexes that are away while the first load of their table fills it; the next refresh of the '
    'table by its owner builds those that one left away which was killed';
COMMENT ON COLUMN sqp.refresh_indexes.column_names IS 'The columns of the index, in order';

DO $$
DECLARE
    outsider text;
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON sqp.refresh_indexes TO service_role;
    END IF;
    FOR outsider IN
        SELECT 'PUBLIC'
        UNION ALL
        SELECT quote_ident(rolname) FROM pg_roles WHERE rolname IN ('anon', 'authenticated')
    LOOP
        EXECUTE 'REVOKE ALL ON sqp.refresh_indexes FROM ' || outsider;
    END LOOP;
END
$$;
