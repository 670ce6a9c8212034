-- Until the end of the transaction, a name without a schema means what Postgres itself has: what others
-- put into a schema of the path, such as public, would run with the rights of whoever migrates.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- Of two migrations at once the second waits here, then finds nothing left to do.
SELECT pg_advisory_xact_lock(hashtextextended('sqp.alembic_version', 0));

-- The schema comes before the first version, because the table that records versions lives in it.
-- Not CREATE SCHEMA IF NOT EXISTS: that asks for the right to create one even where it exists.
DO $$
BEGIN
    IF to_regnamespace('sqp') IS NULL THEN
        CREATE SCHEMA sqp;
    END IF;
END
$$;
