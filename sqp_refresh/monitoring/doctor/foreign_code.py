"""Look for places where somebody else's functions and operators may be taken for Postgres's own.

A refresh and a migration search pg_catalog only. Other sessions of the user, as psql's, search the
user's own path, and what was created with it, such as a view, keeps what it found there.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg.rows import class_row

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.tables import TABLES
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

# The question is asked with the user's path, so that its only function is named with its schema.
_USE_OWN_PATH = "SET LOCAL search_path TO DEFAULT"
_OWN_PATH = "SELECT pg_catalog.current_schemas(false)::pg_catalog.text[]"
# Superusers, the owners of the database and of schema sqp may change everything anyway.
_WRITERS = in_schema("""
SELECT quote_ident(nspname) AS schema, is_owner,
    string_agg(CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(rolname) END, ', '
        ORDER BY grantee) AS roles
FROM pg_namespace
CROSS JOIN LATERAL aclexplode(coalesce(nspacl, acldefault('n', nspowner))) AS acl
CROSS JOIN LATERAL (SELECT grantee = nspowner AS is_owner) AS owner
LEFT JOIN pg_roles ON pg_roles.oid = grantee
WHERE nspname = ANY(%(schemas)s::text[]) AND privilege_type = 'CREATE' AND (
    grantee = 0 OR NOT (rolsuper OR rolname IN (current_user, 'pg_database_owner'))
    AND grantee NOT IN (
        SELECT datdba FROM pg_database WHERE datname = current_database()
        UNION SELECT nspowner FROM pg_namespace WHERE nspname = 'sqp'
    )
)
GROUP BY nspname, is_owner
ORDER BY nspname, is_owner
""")
# What Postgres itself has is never noted as a dependency. A trigger that an operator added may call
# what it likes; those of the migrations have a condition, too.
_FOREIGN = in_schema("""
WITH ours AS (
    SELECT oid, relname FROM pg_class
    WHERE relnamespace = 'sqp'::regnamespace AND (
        relname ~ '^(refresh_|webhook_)' OR relname = ANY(%(tables)s::text[])
        OR relname = 'data_quality_overview'
    )
), parts AS (
    SELECT 'pg_rewrite'::regclass AS classid, pg_rewrite.oid AS objid, relname
    FROM pg_rewrite JOIN ours ON ours.oid = ev_class
    UNION ALL
    SELECT 'pg_attrdef'::regclass, pg_attrdef.oid, relname
    FROM pg_attrdef JOIN ours ON ours.oid = adrelid
    UNION ALL
    SELECT 'pg_constraint'::regclass, pg_constraint.oid, relname
    FROM pg_constraint JOIN ours ON ours.oid = conrelid
    UNION ALL
    SELECT 'pg_class'::regclass, indexrelid, relname FROM pg_index JOIN ours ON ours.oid = indrelid
    UNION ALL
    SELECT 'pg_trigger'::regclass, pg_trigger.oid, relname
    FROM pg_trigger JOIN ours ON ours.oid = tgrelid WHERE tgname ~ '_touch_updated_at$'
)
SELECT DISTINCT 'sqp.' || relname AS name,
    pg_describe_object(refclassid, refobjid, 0) AS used
FROM parts
JOIN pg_depend AS depend ON depend.classid = parts.classid AND depend.objid = parts.objid
LEFT JOIN pg_proc ON refclassid = 'pg_proc'::regclass AND pg_proc.oid = refobjid
LEFT JOIN pg_operator ON refclassid = 'pg_operator'::regclass AND pg_operator.oid = refobjid
WHERE coalesce(pronamespace, oprnamespace) NOT IN (
    'pg_catalog'::regnamespace, 'sqp'::regnamespace
)
ORDER BY name, used
""")


@dataclass(frozen=True, slots=True)
class _Writers:
    """Who else may create functions in a schema: its name, the roles, whether they own it."""

    schema: str
    is_owner: bool
    roles: str


@dataclass(frozen=True, slots=True)
class _Use:
    """A relation of ours, and a function or operator that it uses and that is not Postgres's."""

    name: str
    used: str


def check_search_path(session: Session) -> str:
    """Return a message that nobody else's code is in the user's path, or in our views and tables.

    Args:
        session: A session of the user, in no transaction.

    Raises:
        SettingsError: others may write to a schema of the path, or their code is in use already.
    """
    session.execute(_USE_OWN_PATH)
    (schemas,) = session.fetch_one(_OWN_PATH)
    session.rollback()
    problems = [*_writable(session, schemas), *_in_use(session)]
    if problems:
        raise SettingsError("; ".join(problems))
    return (
        f"nobody else may put functions into {listing(schemas) or 'a schema'} of the user's "
        "search_path; a refresh searches pg_catalog only"
    )


def _writable(session: Session, schemas: Iterable[str]) -> Iterable[str]:
    params = {"schemas": list(schemas)}
    for writers in session.fetch_all(_WRITERS, params, row_factory=class_row(_Writers)):
        remedy = (
            f"ALTER SCHEMA {writers.schema} OWNER TO the owner of the database"
            if writers.is_owner
            else f"REVOKE CREATE ON SCHEMA {writers.schema} FROM {writers.roles}"
        )
        yield (
            f"{writers.roles} may put functions into schema {writers.schema} of the user's "
            f"search_path, which run as whoever calls them, as in psql; {remedy}"
        )


def _in_use(session: Session) -> Iterable[str]:
    params = {"tables": list(TABLES)}
    uses = session.fetch_all(_FOREIGN, params, row_factory=class_row(_Use))
    if uses:
        named = listing(f"{use.name} uses {use.used}" for use in uses)
        yield (
            f"{named}, which no migration made; make it again as `sqp-refresh migrate --sql` has "
            "it, in a session with SET search_path = pg_catalog, pg_temp"
        )
