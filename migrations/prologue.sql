-- Until the end of the transaction, a name without a schema means what Postgres itself has: what others
-- put into a schema of the path, such as public, would run with the rights of whoever migrates.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- A server, a database or a role may have other defaults for what SQL means, and for what is created.
SET LOCAL DateStyle TO 'ISO';
SET LOCAL TimeZone TO 'UTC';
SET LOCAL array_nulls TO on;
SET LOCAL default_table_access_method TO heap;
SET LOCAL quote_all_identifiers TO off;
SET LOCAL row_security TO on;
SET LOCAL standard_conforming_strings TO on;
SET LOCAL transform_null_equals TO off;

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
