"""Take over what was set for the older tables: settings, receivers of alerts, and grants.

Each step says what it did in a value that JSON has, by which `give_back` undoes it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from psycopg import sql

from sqp_refresh.adoption.relations import Relations
from sqp_refresh.model.events import SUBSCRIBABLE
from sqp_refresh.postgres.session import Session

_SETTINGS = sql.SQL("""
SELECT ours.table_name,
    ours.is_enabled, ours.priority, ours.refresh_frequency_hours,
    coalesce(theirs.is_enabled, ours.is_enabled), coalesce(theirs.priority, ours.priority),
    CASE WHEN theirs.refresh_frequency_hours > 0 THEN theirs.refresh_frequency_hours
        ELSE ours.refresh_frequency_hours END
FROM {ours} AS ours JOIN {theirs} AS theirs ON theirs.table_name = ours.table_name
WHERE theirs.table_schema = %(schema)s ORDER BY ours.table_name
""")
_SET = sql.SQL("""
UPDATE {} SET is_enabled = %(is_enabled)s, priority = %(priority)s,
    refresh_frequency_hours = %(hours)s
WHERE table_name = %(table)s
""")
_STILL_SET = " AND (is_enabled, priority, refresh_frequency_hours) = (%(a)s, %(b)s, %(c)s)"

_RECEIVERS = sql.SQL("""
SELECT theirs.name, theirs.url, theirs.events, coalesce(theirs.is_enabled, true),
    to_jsonb(theirs) ->> 'secret' IS NOT NULL
FROM {theirs} AS theirs
WHERE theirs.url ~ '^https?://' AND theirs.name NOT IN (SELECT name FROM {ours})
ORDER BY theirs.name
""")
_ADD_RECEIVER = sql.SQL("""
INSERT INTO {} (name, url, events, is_enabled)
VALUES (%(name)s, %(url)s, %(events)s, %(is_enabled)s)
""")
_REMOVE_RECEIVERS = sql.SQL("DELETE FROM {} WHERE name = ANY(%(names)s)")

# What a role may do with a table, and with the schema (no relation), there and not here.
_GRANTS = """
WITH granted AS (
    SELECT relnamespace AS schema, relname::text AS relation, grantee, privilege_type
    FROM pg_class CROSS JOIN LATERAL aclexplode(relacl)
    WHERE relkind IN ('r', 'p', 'm', 'v', 'f') AND grantee <> relowner
    UNION
    SELECT pg_namespace.oid, NULL, grantee, privilege_type
    FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl)
    WHERE grantee <> nspowner AND privilege_type = 'USAGE'
)
SELECT theirs.relation, coalesce(rolname::text, ''), theirs.privilege_type,
    theirs.relation ~ '^(refresh_|webhook_)'
        AND coalesce(rolname IN ('anon', 'authenticated'), true) AS is_refused
FROM granted AS theirs LEFT JOIN pg_roles ON pg_roles.oid = theirs.grantee
WHERE theirs.schema = %(theirs)s::regnamespace AND NOT EXISTS (
    SELECT FROM granted AS ours WHERE ours.schema = %(ours)s::regnamespace
        AND ours.relation IS NOT DISTINCT FROM theirs.relation AND ours.grantee = theirs.grantee
        AND ours.privilege_type = theirs.privilege_type
) AND (theirs.relation IS NULL OR EXISTS (
    SELECT FROM pg_class WHERE relnamespace = %(ours)s::regnamespace
        AND relname = theirs.relation AND relkind IN ('r', 'p')
))
ORDER BY theirs.relation NULLS FIRST, 2, 3
"""

_COLUMN_GRANTS = """
SELECT DISTINCT relname::text, rolname::text
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
CROSS JOIN LATERAL aclexplode(attacl) JOIN pg_roles ON pg_roles.oid = grantee
WHERE relnamespace = %(theirs)s::regnamespace ORDER BY 1, 2
"""

Record = dict[str, Any]


def take_over(
    session: Session, ours: str, theirs: str, relations: Relations, schema_then: str
) -> Record:
    """Take over settings, receivers and grants.

    Args:
        session: A session in a transaction.
        ours: Our schema.
        theirs: The older schema, as it is called now.
        relations: What the older schema has.
        schema_then: What it was called, which its own registry says.

    Returns:
        What was done: `settings`, `receivers`, `grants`; and what was not, in `left`.
    """
    record: Record = {"settings": [], "receivers": [], "grants": [], "left": []}
    if {"table_schema", "is_enabled", "priority"} <= relations.get("refresh_config", {}).keys():
        record["settings"] = _take_settings(session, ours, theirs, schema_then)
    if {"name", "url", "events"} <= relations.get("webhook_configs", {}).keys():
        _take_receivers(session, ours, theirs, record)
    _take_grants(session, ours, theirs, record)
    return record


def _take_settings(
    session: Session, ours: str, theirs: str, schema_then: str
) -> list[dict[str, Any]]:
    table = sql.Identifier(ours, "refresh_config")
    query = _SETTINGS.format(ours=table, theirs=sql.Identifier(theirs, "refresh_config"))
    taken = []
    for name, *values in session.fetch_all(query, {"schema": schema_then}):
        before, after = values[:3], values[3:]
        if before != after:
            session.execute(_SET.format(table), _settings(name, after))
            taken.append({"table": name, "before": before, "after": after})
    return taken


def _settings(table: str, values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(("is_enabled", "priority", "hours"), values, strict=True)) | {"table": table}


def _take_receivers(session: Session, ours: str, theirs: str, record: Record) -> None:
    table = sql.Identifier(ours, "webhook_configs")
    query = _RECEIVERS.format(ours=table, theirs=sql.Identifier(theirs, "webhook_configs"))
    known = {str(event) for event in SUBSCRIBABLE}
    for name, url, events, is_enabled, has_secret in session.fetch_all(query):
        chosen = [event.replace("_", ".", 1) for event in events]
        unknown = [event for event in chosen if event not in known]
        params = {
            "name": name,
            "url": url,
            "is_enabled": is_enabled,
            "events": None if unknown or not chosen else chosen,
        }
        session.execute(_ADD_RECEIVER.format(table), params)
        record["receivers"].append(name)
        if unknown:
            record["left"].append(
                f"receiver {name} gets every event: there is no {', '.join(unknown)} any more; "
                f"choose in {ours}.webhook_configs"
            )
        if has_secret:
            record["left"].append(
                f"the secret of receiver {name} is not kept in the database: set "
                "REFRESH_WEBHOOK_SECRET to it"
            )


def _take_grants(session: Session, ours: str, theirs: str, record: Record) -> None:
    params = {"ours": ours, "theirs": theirs}
    for relation, role, privilege, is_refused in session.fetch_all(_GRANTS, params):
        if is_refused:
            record["left"].append(
                f"{privilege} on {ours}.{relation} is not given to {role or 'PUBLIC'}: control "
                "tables are for those who refresh"
            )
        else:
            session.execute(_grant("GRANT {} ON {} TO {}", ours, relation, role, privilege))
            record["grants"].append([relation, role, privilege])
    for relation, role in session.fetch_all(_COLUMN_GRANTS, params):
        record["left"].append(
            f"grants of {role} on single columns of {relation} are not given: columns have other "
            "names"
        )


def _grant(
    statement: str, schema: str, relation: str | None, role: str, privilege: str
) -> sql.Composed:
    """Return a GRANT or REVOKE.

    Args:
        statement: Its words, with a place for the privilege, the object and the role.
        schema: Our schema.
        relation: A table of it; None is the schema itself.
        role: A role; empty is PUBLIC.
        privilege: As Postgres calls it, e.g. SELECT.
    """
    on_schema = sql.SQL("SCHEMA {}").format(sql.Identifier(schema))
    return sql.SQL(statement).format(  # type: ignore[arg-type]
        sql.SQL(privilege),  # type: ignore[arg-type]
        sql.Identifier(schema, relation) if relation else on_schema,
        sql.Identifier(role) if role else sql.SQL("PUBLIC"),
    )


def give_back(session: Session, ours: str, record: Mapping[str, Any]) -> None:
    """Undo what was taken over; a setting that was changed since stays.

    Args:
        session: A session in a transaction.
        ours: Our schema.
        record: What `take_over` returned.
    """
    still_set = _SET.format(sql.Identifier(ours, "refresh_config")) + sql.SQL(_STILL_SET)
    for setting in record["settings"]:
        since = dict(zip("abc", setting["after"], strict=True))
        session.execute(still_set, _settings(setting["table"], setting["before"]) | since)
    remove = _REMOVE_RECEIVERS.format(sql.Identifier(ours, "webhook_configs"))
    session.execute(remove, {"names": record["receivers"]})
    for relation, role, privilege in record["grants"]:
        session.execute(_grant("REVOKE {} ON {} FROM {}", ours, relation, role, privilege))
