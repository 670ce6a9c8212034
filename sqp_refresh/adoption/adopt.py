"""Take the place of the older system: its schema steps aside, and ours takes its name.

All of it is one transaction. What was done is kept as the comment of the older schema, by which it
can be taken back.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from sqp_refresh.adoption.dependents import Dependent, Names, list_dependents
from sqp_refresh.adoption.relations import read_relations
from sqp_refresh.adoption.renaming import rename_schema
from sqp_refresh.adoption.takeover import give_back, take_over
from sqp_refresh.control.table_lock import try_lock
from sqp_refresh.errors import Busy, NotFound, Permanent, SettingsError
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry.catalog import Catalog

ASIDE = "_before"
"""What the older schema's name ends with once it has stepped aside."""
MARK = "Stepped aside by sqp-refresh adopt, whose --undo needs this: "

_SCHEMAS = """
SELECT nspname::text, obj_description(oid, 'pg_namespace'),
    to_regclass(format('%%I.alembic_version', nspname)) IS NOT NULL
        AND to_regclass(format('%%I.refresh_periods', nspname)) IS NOT NULL
FROM pg_namespace WHERE nspname = ANY(%(names)s)
"""
# Whoever writes to an older table now has one of these locks until the transaction ends.
_WRITERS = """
SELECT DISTINCT pid, relation::regclass::text
FROM pg_locks JOIN pg_class ON pg_class.oid = relation
WHERE relnamespace = %(schema)s::regnamespace AND relkind IN ('r', 'p', 'm')
    AND granted AND pid <> pg_backend_pid()
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND mode NOT IN ('AccessShareLock', 'RowShareLock')
ORDER BY 1, 2
"""
_EVENT_TRIGGERS = """
SELECT evtname::text, evtenabled::text FROM pg_event_trigger
JOIN pg_proc ON pg_proc.oid = evtfoid AND pronamespace = %(schema)s::regnamespace
WHERE evtenabled <> 'D' ORDER BY 1
"""
_RENAME = sql.SQL("ALTER SCHEMA {} RENAME TO {}")
_COMMENT = sql.SQL("COMMENT ON SCHEMA {} IS {}")
_ENABLE = {"O": "ENABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS", "D": "DISABLE"}


@dataclass(frozen=True, slots=True)
class Adoption:
    """What taking the place of the older system does, or did.

    Attributes:
        theirs: The older schema, whose name ours takes.
        ours: Our schema.
        aside: What the older one is called then.
        dependents: What reads the older tables.
        taken: What was set for the older tables, and is for ours then.
    """

    theirs: str
    ours: str
    aside: str
    dependents: Sequence[Dependent]
    taken: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "schemas": {self.theirs: self.aside, self.ours: self.theirs},
            "dependents": [dependent.as_json() for dependent in self.dependents],
            **{name: self.taken[name] for name in ("settings", "receivers", "grants", "left")},
            "event_triggers": [name for name, _ in self.taken["event_triggers"]],
        }


def adopt(database_url: str, catalog: Catalog, theirs: str, *, dry_run: bool) -> Adoption:
    """Take the place of the older system; or do all of it and undo it, to say what it does.

    Args:
        database_url: Where both schemas are, as the owner of both.
        catalog: Our tables.
        theirs: The older schema.
        dry_run: Whether to undo it.

    Raises:
        NotFound: there is no such schema.
        SettingsError: the schema is ours.
        Busy: a refresh is at work, or somebody writes to the older tables.
        Permanent: a name is taken.
        AccessDenied: the user does not own both schemas.
    """
    with connect(database_url) as session, session.transaction():
        _require_possible(session, theirs)
        _require_idle(session, catalog, theirs)
        adoption = _adopt(session, theirs)
        if dry_run:
            session.rollback()
    return adoption


def _adopt(session: Session, theirs: str) -> Adoption:
    aside, ours = f"{theirs}{ASIDE}", SCHEMA
    older = read_relations(session, theirs)
    triggers = session.fetch_all(_EVENT_TRIGGERS, {"schema": theirs})
    for name, _ in triggers:
        # It would enter our tables into its registry, and is of a schema that has stepped aside.
        session.execute(_switch(name, "D"))
    ((_, comment, _),) = session.fetch_all(_SCHEMAS, {"names": [theirs]})
    session.execute(_RENAME.format(sql.Identifier(theirs), sql.Identifier(aside)))
    rename_schema(session, ours, theirs)
    taken = take_over(session, theirs, aside, older, theirs)
    dependents = list_dependents(
        session, Names(theirs, aside), older, read_relations(session, theirs)
    )
    taken |= {"ours": ours, "theirs": theirs, "comment": comment, "event_triggers": triggers}
    record = sql.Literal(MARK + json.dumps(taken))
    session.execute(_COMMENT.format(sql.Identifier(aside), record))
    return Adoption(theirs, ours, aside, dependents + _event_triggers(triggers), taken)


def undo(database_url: str, catalog: Catalog, theirs: str) -> str:
    """Take it back: the older schema has its name again, and ours its own.

    Args:
        database_url: Where both schemas are, as the owner of both.
        catalog: Our tables.
        theirs: The older schema, by the name that it had.

    Returns:
        The name that our schema has again.

    Raises:
        NotFound: nothing was adopted.
        SettingsError: this process works in another schema.
        Busy: a refresh is at work.
        Permanent: a name is taken.
    """
    aside = f"{theirs}{ASIDE}"
    with connect(database_url) as session, session.transaction():
        record = _read_record(session, aside)
        if theirs != SCHEMA:
            raise SettingsError(f"SQP_SCHEMA is {SCHEMA}; set it to {theirs}, which is ours now")
        ours = record["ours"]
        if session.fetch_all(_SCHEMAS, {"names": [ours]}):
            raise Permanent(f"there is a schema {ours}, which ours would be called again; move it")
        _require_idle(session, catalog, aside)
        give_back(session, theirs, record)
        rename_schema(session, theirs, ours)
        session.execute(_RENAME.format(sql.Identifier(aside), sql.Identifier(theirs)))
        comment = sql.Literal(record["comment"])
        session.execute(_COMMENT.format(sql.Identifier(theirs), comment))
        for name, state in record["event_triggers"]:
            session.execute(_switch(name, state))
    return ours


def require_not_done(database_url: str, theirs: str) -> None:
    """Require that ours has not taken the place of the older schema yet.

    Raises:
        SettingsError: it has.
        RefreshError: Postgres cannot be asked.
    """
    with connect(database_url) as session:
        rows = session.fetch_all(_SCHEMAS, {"names": [f"{theirs}{ASIDE}"]})
    if rows and (rows[0][1] or "").startswith(MARK):
        raise SettingsError(
            f"it is done already: set SQP_SCHEMA to {theirs}, which is ours; --undo takes it back"
        )


def require_done(database_url: str, theirs: str) -> None:
    """Require that there is something to take back.

    Raises:
        NotFound: nothing was adopted.
        RefreshError: Postgres cannot be asked.
    """
    with connect(database_url) as session:
        _read_record(session, f"{theirs}{ASIDE}")


def _read_record(session: Session, aside: str) -> dict[str, Any]:
    rows = session.fetch_all(_SCHEMAS, {"names": [aside]})
    comment = rows[0][1] if rows else None
    if not comment or not comment.startswith(MARK):
        raise NotFound(f"there is no schema {aside} that stepped aside, so nothing to take back")
    return json.loads(comment.removeprefix(MARK))


def _require_possible(session: Session, theirs: str) -> None:
    aside = f"{theirs}{ASIDE}"
    names = {"names": [theirs, aside]}
    schemas = {name: rest for name, *rest in session.fetch_all(_SCHEMAS, names)}
    if theirs == SCHEMA:
        raise SettingsError(
            f"{theirs} is our own schema; set SQP_SCHEMA to that which is to take its place"
        )
    if theirs not in schemas:
        raise NotFound(f"there is no schema {theirs!r}; name the older one by --from")
    if schemas[theirs][1]:
        raise SettingsError(f"schema {theirs} is of this program, too, e.g. of another agency")
    if aside in schemas:
        raise Permanent(f"there is a schema {aside} already, as {theirs} is to be called; move it")


def _require_idle(session: Session, catalog: Catalog, theirs: str) -> None:
    """Keep every refresh from beginning until the transaction ends, and require that none works."""
    at_work = [name for name in catalog.tables if not try_lock(session, name)]
    if at_work:
        raise Busy(
            f"{listing(f'{SCHEMA}.{name}' for name in at_work)} is being refreshed; wait for it, "
            "or `sqp-refresh stop --all`"
        )
    if writers := session.fetch_all(_WRITERS, {"schema": theirs}):
        writing = listing(f"process {pid} to {table}" for pid, table in writers)
        raise Busy(f"somebody writes to the older tables, {writing}; stop the older system first")


def _event_triggers(triggers: Sequence[tuple[str, str]]) -> list[Dependent]:
    return [
        Dependent(
            *("event trigger", name, name, ()),
            "is disabled, as it would register new tables for the older system",
            remark="none is needed: new tables register themselves with the new one",
        )
        for name, _ in triggers
    ]


def _switch(name: str, state: str) -> sql.Composed:
    """Return the statement that enables or disables an event trigger.

    Args:
        name: Its name.
        state: As `pg_event_trigger.evtenabled` has it.
    """
    action = sql.SQL(_ENABLE[state])  # type: ignore[arg-type]
    return sql.SQL("ALTER EVENT TRIGGER {} {}").format(sql.Identifier(name), action)
