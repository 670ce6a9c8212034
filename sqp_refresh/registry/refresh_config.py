"""`sqp.refresh_config`: which tables are refreshed, when each is due, and who may not touch it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from sqp_refresh.errors import NotFound, Stopped
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry.sync_params import SyncParams


@dataclass(frozen=True, slots=True)
class Registration:
    """One row of the registry.

    Attributes:
        table: Name of the table in schema sqp.
        is_enabled: Whether it may be refreshed at all.
        priority: Higher is refreshed first among tables that are ready.
        raw_params: What it does differently, as it was entered.
        frequency_hours: Hours between two refreshes.
    """

    table: str
    is_enabled: bool
    priority: int
    next_refresh_at: datetime
    raw_params: dict[str, Any]
    frequency_hours: int = 24

    @property
    def params(self) -> SyncParams:
        """What it does differently.

        Raises:
            SettingsError: a parameter is malformed.
        """
        return SyncParams.read(self.table, self.raw_params)


_REGISTERED = sql.SQL("""
SELECT table_name, is_enabled, priority, next_refresh_at, custom_sync_params::text,
    refresh_frequency_hours
FROM sqp.refresh_config WHERE table_schema = {} ORDER BY priority DESC, table_name
""")
_DEPENDENCIES = sql.SQL("""
SELECT parent.table_name, dependent.table_name, dependency_type
FROM sqp.refresh_dependencies
JOIN sqp.refresh_config AS parent ON parent.id = parent_config_id
JOIN sqp.refresh_config AS dependent ON dependent.id = dependent_config_id
WHERE parent.table_schema = {schema} AND dependent.table_schema = {schema}
ORDER BY parent.table_name, dependent.table_name
""")
_SWITCH = sql.SQL("""
UPDATE sqp.refresh_config SET is_enabled = {enabled}
WHERE table_schema = {schema} AND table_name = ANY({tables}) AND is_enabled <> {enabled}
RETURNING table_name
""")
# Where the schedule asked for the refresh, the next one is a whole frequency after that tick. Any
# other leaves the slot of the day where it is, so a refresh at noon does not move tomorrow's.
_MARK_REFRESHED = sql.SQL("""
UPDATE sqp.refresh_config
SET last_refresh_at = now(),
    next_refresh_at = CASE
        WHEN {is_newest} IS NOT TRUE OR next_refresh_at > coalesce({tick}, now())
            THEN next_refresh_at
        ELSE coalesce({tick}, next_refresh_at) + make_interval(hours => refresh_frequency_hours * (
            1 + floor(
                extract(epoch FROM now() - coalesce({tick}, next_refresh_at))
                / (3600 * refresh_frequency_hours)
            )::integer
        ))
    END
WHERE table_schema = {schema} AND table_name = {table}
""")


def registered(session: Session) -> dict[str, Registration]:
    """Every registration of the schema by table, the highest priority first."""
    return {
        table: Registration(table, is_enabled, priority, due, json.loads(params), frequency_hours)
        for table, is_enabled, priority, due, params, frequency_hours in session.rows(
            _REGISTERED.format(sql.Literal(SCHEMA))
        )
    }


def due(session: Session, at: datetime) -> list[Registration]:
    """The enabled tables whose next refresh has come by then, the highest priority first."""
    return [
        one for one in registered(session).values() if one.is_enabled and one.next_refresh_at <= at
    ]


def dependencies(session: Session) -> dict[tuple[str, str], str]:
    """`sqp.refresh_dependencies` as (parent, dependent) and how strictly."""
    rows = session.rows(_DEPENDENCIES.format(schema=sql.Literal(SCHEMA)))
    return {(parent, dependent): kind for parent, dependent, kind in rows}


def require_registered(session: Session, table: Table) -> Registration:
    """A table's registration.

    Raises:
        NotFound: the table is not registered.
    """
    found = registered(session).get(table.name)
    if found is None:
        raise NotFound(
            f"{SCHEMA}.{table.name} is not in sqp.refresh_config; run `sqp-refresh migrate`"
        )
    return found


def require_enabled(session: Session, table: Table) -> Registration:
    """A table's registration, if it may be refreshed.

    Raises:
        Stopped: an operator disabled the table.
        NotFound: the table is not registered.
    """
    found = require_registered(session, table)
    if not found.is_enabled:
        raise Stopped(
            f"{SCHEMA}.{table.name} is disabled; `sqp-refresh enable {table.name}`, or set "
            "is_enabled = true in sqp.refresh_config, to refresh it again"
        )
    return found


def hold(session: Session, table: Table) -> None:
    """Keep every other publisher of the table out until the transaction ends, if it is enabled.

    Raises:
        Transient: another publisher did not let go in time.
        Stopped: an operator disabled the table meanwhile.
    """
    session.row(
        sql.SQL("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))::text").format(
            sql.Literal(f"{SCHEMA}.{table.name}")
        )
    )
    require_enabled(session, table)


def mark_refreshed(
    session: Session, table: Table, *, tick: datetime | None, is_newest: bool
) -> None:
    """Move the table's last refresh on, and its next one too.

    Args:
        session: A session in a transaction.
        table: The table that was refreshed.
        tick: The tick of the schedule that asked for it; None where somebody else did.
        is_newest: Whether the newest period was among those refreshed; where not, it was a repair
            of old ones, and the table is as due as it was.
    """
    session.run(
        _MARK_REFRESHED.format(
            schema=sql.Literal(SCHEMA),
            table=sql.Literal(table.name),
            tick=sql.SQL("{}::timestamptz").format(sql.Literal(tick)),
            is_newest=sql.Literal(is_newest),
        )
    )


def switch(session: Session, tables: Sequence[str], *, enabled: bool) -> list[str]:
    """Enable or disable tables; returns those that were not so already."""
    statement = _SWITCH.format(
        enabled=sql.Literal(enabled),
        schema=sql.Literal(SCHEMA),
        tables=sql.SQL("{}::text[]").format(sql.Literal(list(tables))),
    )
    return [table for (table,) in session.rows(statement)]
