"""Fill schema public with functions, operators, types and views that betray who calls them.

An unprivileged user creates one of the name and the arguments of everything that Postgres has in
pg_catalog, and some that fit a call better than those. The database's search_path prefers them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo, sql

from sqp_refresh_tests.helpers.database import database_like, run_outside_transaction

PLANTER = "planter"
SAFELY = "-c search_path=pg_catalog"

# Each counts its call in a way that a rollback does not undo, and fails.
_PLANT = """
SET ROLE planter;
CREATE SEQUENCE public.calls;
GRANT USAGE ON SEQUENCE public.calls TO PUBLIC;
CREATE FUNCTION public.betray() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_catalog.nextval('public.calls');
    RAISE EXCEPTION 'planted code ran as %', current_user;
END $$;
CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE sql
    AS 'SELECT 1::bigint FROM (SELECT public.betray()) AS _';
CREATE FUNCTION public.make_interval(hours integer) RETURNS interval LANGUAGE sql
    AS 'SELECT NULL::interval FROM (SELECT public.betray()) AS _';
CREATE FUNCTION public.make_interval(days integer, hours integer) RETURNS interval LANGUAGE sql
    AS 'SELECT NULL::interval FROM (SELECT public.betray()) AS _';

DO $plant$
DECLARE
    thing record;
BEGIN
    FOR thing IN
        SELECT proname, pg_get_function_identity_arguments(pg_proc.oid) AS arguments,
            CASE WHEN ret.typtype = 'p' THEN 'text' ELSE format_type(ret.oid, NULL) END AS returned
        FROM pg_proc JOIN pg_type AS ret ON ret.oid = prorettype
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind <> 'p'
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE FUNCTION public.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                thing.proname,
                regexp_replace(
                    regexp_replace(thing.arguments, '"any"|any[a-z]*array', 'text', 'g'),
                    '\\many(element|nonarray|enum|range|compatible[a-z]*|multirange)\\M|ORDER BY',
                    'text', 'g'
                ),
                thing.returned, 'BEGIN PERFORM public.betray(); END'
            );
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR thing IN
        SELECT oprname, proname, nullif(oprleft, 0)::regtype AS l, oprright::regtype AS r
        FROM pg_operator JOIN pg_proc ON pg_proc.oid = oprcode
        WHERE oprnamespace = 'pg_catalog'::regnamespace
    LOOP
        BEGIN
            EXECUTE format(
                'CREATE OPERATOR public.%s (FUNCTION = public.%I, %sRIGHTARG = %s)',
                thing.oprname, thing.proname, 'LEFTARG = ' || thing.l || ', ', thing.r
            );
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR thing IN
        SELECT relname FROM pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        EXECUTE format('CREATE VIEW public.%I AS SELECT public.betray()', thing.relname);
    END LOOP;
    FOR thing IN SELECT unnest(ARRAY['text', 'date', 'jsonb', 'timestamptz', 'regclass']) AS name
    LOOP
        EXECUTE format(
            'CREATE DOMAIN public.%1$I AS pg_catalog.%1$I CHECK (public.betray())', thing.name
        );
    END LOOP;
END $plant$;
"""
_CALLS = """
SELECT is_called FROM public.calls
"""
_COUNTS = """
SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT count(*) FROM pg_operator WHERE oprnamespace = 'public'::regnamespace
"""


@contextmanager
def planted_database(server: str) -> Iterator[str]:
    """Create a database full of planted code for as long as the context lasts; yield its URL."""
    run_outside_transaction(server, sql.SQL("CREATE ROLE planter"))
    try:
        with database_like(server, "template0") as url:
            _plant(url)
            yield url
    finally:
        run_outside_transaction(server, sql.SQL("DROP ROLE planter"))


def _plant(url: str) -> None:
    name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
    path = sql.SQL("ALTER DATABASE {} SET search_path TO public, pg_catalog").format(name)
    with safely(url) as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO planter")
        connection.execute(_PLANT.encode())
        functions, operators = (count for (count,) in connection.execute(_COUNTS))
        assert functions > 2_000, functions
        assert operators > 500, operators
        connection.execute("RESET ROLE")
        connection.execute(path)


def was_called(url: str) -> bool:
    """Return whether anything that was planted has run."""
    with safely(url) as connection:
        row = connection.execute(_CALLS).fetchone()
        assert row
        return row[0]


def safely(url: str) -> psycopg.Connection:
    """Connect without the planted path, for the questions of a test."""
    return psycopg.connect(conninfo.make_conninfo(url, options=SAFELY), autocommit=True)
