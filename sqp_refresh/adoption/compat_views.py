"""Offer the tables under the names that queries for the older system use, as views.

A view is as its reader is allowed: what rows and whether any is decided by the table beneath.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.adoption.older_names import OLDER_NAMES, PERIOD_NUMBERS
from sqp_refresh.errors import Permanent, SchemaMismatch, SettingsError
from sqp_refresh.model.tables import SCHEMA, TABLES, Table
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session

_SECURITY_INVOKER_SINCE = 15
_IS_SYSTEM = ("pg_", "information_schema")

_SCHEMA_EXISTS = "SELECT count(*) > 0 FROM pg_namespace WHERE nspname = %(schema)s"
_VERSION = "SELECT current_setting('server_version_num')::integer / 10000"
_TAKEN = """
SELECT relname::text FROM pg_class
WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = %(schema)s)
    AND relname = ANY(%(names)s)
    AND coalesce(obj_description(oid, 'pg_class'), '') NOT LIKE %(mark)s || '%%'
ORDER BY relname
"""
_READERS = """
SELECT relname::text, rolname::text
FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) AS acl
JOIN pg_roles ON pg_roles.oid = grantee
WHERE relnamespace = %(ours)s::regnamespace AND relname = ANY(%(names)s)
    AND privilege_type = 'SELECT' AND grantee <> relowner
ORDER BY 1, 2
"""
_MARK = "Older names of "
_CREATE_SCHEMA = sql.SQL("CREATE SCHEMA {}")
_CREATE = sql.SQL("CREATE OR REPLACE VIEW {} WITH (security_invoker = true) AS SELECT {} FROM {}")
_COMMENT = sql.SQL("COMMENT ON VIEW {} IS {}")
_GRANT_SCHEMA = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}")
_GRANT = sql.SQL("GRANT SELECT ON {} TO {}")
_STAMPS = ("created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class CompatViews:
    """The views of a schema: what makes them, statement by statement, and what they are called."""

    schema: str
    statements: tuple[sql.Composed, ...]
    views: tuple[str, ...]


def plan_views(session: Session, schema: str) -> CompatViews:
    """Return what makes the views in a schema, and those who may read a table readers of its view.

    Args:
        session: A session in a transaction.
        schema: The schema of the views.

    Raises:
        SettingsError: the schema is ours, or the server's.
        Permanent: something else has the name of a view there.
        SchemaMismatch: the server has no views that are as their reader is allowed.
    """
    _require_possible(session, schema)
    params = {"schema": schema, "names": list(TABLES), "mark": _MARK, "ours": SCHEMA}
    if taken := [f"{schema}.{name}" for (name,) in session.fetch_all(_TAKEN, params)]:
        raise Permanent(
            f"{listing(taken)} is there already and was not made by this command, so that nothing "
            "was changed; move it, or name another schema"
        )
    (exists,) = session.fetch_one(_SCHEMA_EXISTS, params)
    readers = session.fetch_all(_READERS, params)
    statements = [] if exists else [_CREATE_SCHEMA.format(sql.Identifier(schema))]
    for table in TABLES.values():
        statements += _of_table(schema, table)
    for role in dict.fromkeys(role for _, role in readers):
        statements.append(_GRANT_SCHEMA.format(sql.Identifier(schema), sql.Identifier(role)))
    statements += [
        _GRANT.format(sql.Identifier(schema, name), sql.Identifier(role)) for name, role in readers
    ]
    return CompatViews(schema, tuple(statements), tuple(TABLES))


def _require_possible(session: Session, schema: str) -> None:
    if schema == SCHEMA or schema.startswith(_IS_SYSTEM) or not schema:
        raise SettingsError(f"the views cannot be in schema {schema!r}; name one of your own")
    (version,) = session.fetch_one(_VERSION)
    if version < _SECURITY_INVOKER_SINCE:
        raise SchemaMismatch(
            f"Postgres {version} has no views with security_invoker, which are as their reader is "
            f"allowed; it needs Postgres {_SECURITY_INVOKER_SINCE}"
        )


def _of_table(schema: str, table: Table) -> Iterator[sql.Composed]:
    view, ours = sql.Identifier(schema, table.name), sql.Identifier(SCHEMA, table.name)
    yield _CREATE.format(view, older_columns(table), ours)
    yield _COMMENT.format(view, sql.Literal(f"{_MARK}{SCHEMA}.{table.name}"))


def older_columns(table: Table) -> sql.Composed:
    """Return the columns of a table as the older system names them, for SELECT."""
    older = {ours: name for name, ours in OLDER_NAMES.get(table.name, {}).items()}
    columns = [
        sql.SQL("{} AS {}").format(sql.Identifier(name), sql.Identifier(older.get(name, name)))
        for name in (*(column.name for column in table.columns), *_STAMPS)
    ]
    columns += [
        sql.SQL("extract({} FROM {})::integer AS {}").format(
            sql.Literal(field), sql.Identifier(table.scope or ""), sql.Identifier(name)
        )
        for name, field in PERIOD_NUMBERS.get(table.grain, {}).items()
    ]
    return sql.SQL(", ").join(columns)
