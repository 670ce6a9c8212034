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
