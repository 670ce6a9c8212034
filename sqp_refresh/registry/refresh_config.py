"""Read and write `sqp.refresh_config`: which tables are refreshed, and when each is due."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from sqp_refresh.errors import NotFound, SettingsError, Stopped
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh.schema_name import in_schema


@dataclass(frozen=True, slots=True)
class Registration:
    """One row of the registry.

    Attributes:
        table: Name of the table in schema sqp.
        is_enabled: Whether it may be refreshed at all.
        priority: Higher is refreshed first among tables that are ready.
        next_refresh_at: When it is due.
        custom_sync_params: What it does differently, as it was entered; None where it is too large
            or too deep to be read.
        frequency_hours: Hours between two refreshes.
    """

    table: str
    is_enabled: bool
    priority: int
    next_refresh_at: datetime
    custom_sync_params: dict[str, Any] | None
    frequency_hours: int = 24

    @property
    def sync_params(self) -> SyncParams:
        """What it does differently.

        Raises:
            SettingsError: a parameter is malformed.
        """
        return SyncParams.read(self.table, self.custom_sync_params)

    @property
    def sync_params_if_readable(self) -> SyncParams:
        """What it does differently; nothing where that is malformed, which its own refresh says."""
        try:
            return self.sync_params
        except SettingsError:
            return SyncParams()


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be changed of a registration; the rest of it stays as it is.

    Attributes:
        params: What is set of its `custom_sync_params`.
        quality: The thresholds that are set there, by metric.
        unset: What is taken out of its `custom_sync_params`.
        priority: Higher is refreshed first.
        frequency_hours: Hours between two refreshes.
    """

    params: Mapping[str, Any]
    quality: Mapping[str, Any]
    unset: Collection[str]
    priority: int | None
    frequency_hours: int | None


# Whatever a row holds, the others can be read: Postgres has instants and numbers that Python has
# not, e.g. infinity, which says that a table is due at once, or never.
_REGISTRATIONS = in_schema("""
SELECT table_name AS table, is_enabled, priority, custom_sync_params::text AS custom_sync_params,
    least(greatest(next_refresh_at, '1970-01-01 00:00Z'), '9000-01-01 00:00Z') AS next_refresh_at,
    least(refresh_frequency_hours, 876000) AS frequency_hours
FROM sqp.refresh_config WHERE table_schema = %(schema)s ORDER BY priority DESC, table_name
""")
_DEPENDENCIES = in_schema("""
SELECT parent.table_name, dependent.table_name, dependency_type
FROM sqp.refresh_dependencies
JOIN sqp.refresh_config AS parent ON parent.id = parent_config_id
JOIN sqp.refresh_config AS dependent ON dependent.id = dependent_config_id
WHERE parent.table_schema = %(schema)s AND dependent.table_schema = %(schema)s
ORDER BY parent.table_name, dependent.table_name
""")
_SET_ENABLED = in_schema("""
UPDATE sqp.refresh_config SET is_enabled = %(enabled)s
WHERE table_schema = %(schema)s AND table_name = ANY(%(tables)s) AND is_enabled <> %(enabled)s
RETURNING table_name
""")
_CONFIGURE = in_schema("""
UPDATE sqp.refresh_config
SET priority = coalesce(%(priority)s, priority),
    refresh_frequency_hours = coalesce(%(hours)s, refresh_frequency_hours),
    custom_sync_params = (
        custom_sync_params || %(params)s || CASE WHEN %(quality)s = '{}'::jsonb THEN '{}'
            ELSE jsonb_build_object(
                'quality', coalesce(custom_sync_params->'quality', '{}') || %(quality)s
            ) END
    ) - %(unset)s::text[]
WHERE table_schema = %(schema)s AND table_name = %(table)s
""")
# Where the schedule asked for the refresh, the next one is a whole number of frequencies after that
# tick, and in the future. Any other leaves the slot of the day where it is, so a refresh at noon
# does not move tomorrow's.
_MARK_REFRESHED = in_schema("""
UPDATE sqp.refresh_config
SET last_refresh_at = now(),
    next_refresh_at = CASE
        WHEN NOT %(is_newest)s OR next_refresh_at > coalesce(%(tick)s::timestamptz, now())
            THEN next_refresh_at
        ELSE coalesce(%(tick)s, greatest(next_refresh_at, '1970-01-01 00:00Z')) + make_interval(
            hours => refresh_frequency_hours * (
                1 + floor(
                    extract(
                        epoch FROM now()
                            - coalesce(%(tick)s, greatest(next_refresh_at, '1970-01-01 00:00Z'))
                    ) / (3600.0 * refresh_frequency_hours)
                )::integer
            )
        )
    END
WHERE table_schema = %(schema)s AND table_name = %(table)s
""")

_MARK_COMPARED = in_schema("""
INSERT INTO sqp.refresh_comparisons (table_schema, table_name) VALUES (%(schema)s, %(table)s)
ON CONFLICT (table_schema, table_name) DO UPDATE SET compared_at = excluded.compared_at
""")

# A table that was never compared could have been so from its first load on.
_COMPARED_AT = in_schema("""
SELECT table_name, coalesce(comparison.compared_at, (
    SELECT min(published_at) FROM sqp.refresh_periods AS period
    WHERE period.table_schema = config.table_schema AND period.table_name = config.table_name
        AND period_end < date '9999-12-31'
))
FROM sqp.refresh_config AS config
LEFT JOIN sqp.refresh_comparisons AS comparison USING (table_schema, table_name)
WHERE table_schema = %(schema)s
""")


def read_registrations(session: Session) -> dict[str, Registration]:
    """Read every registration of the schema, by table, the highest priority first."""
    rows = session.fetch_all(_REGISTRATIONS, {"schema": SCHEMA}, row_factory=dict_row)
    return {row["table"]: Registration(**row | _parsed(row)) for row in rows}


def _parsed(row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"custom_sync_params": json.loads(row["custom_sync_params"])}
    except (ValueError, RecursionError):
        # A number of thousands of digits, or arrays in arrays, which Python does not read.
        return {"custom_sync_params": None}


def due_tables(session: Session, at: datetime) -> list[Registration]:
    """List the enabled tables whose next refresh has come by then, the highest priority first."""
    return [
        registration
        for registration in read_registrations(session).values()
        if registration.is_enabled and registration.next_refresh_at <= at
    ]


def read_dependencies(session: Session) -> dict[tuple[str, str], str]:
    """Read `sqp.refresh_dependencies`: how strict each is, by (parent, dependent)."""
    rows = session.fetch_all(_DEPENDENCIES, {"schema": SCHEMA})
    return {(parent, dependent): kind for parent, dependent, kind in rows}


def require_registered(session: Session, table: Table) -> Registration:
    """Read a table's registration.

    Raises:
        NotFound: the table is not registered.
    """
    registration = read_registrations(session).get(table.name)
    if registration is None:
        raise NotFound(
            f"{SCHEMA}.{table.name} is not in {SCHEMA}.refresh_config; run `sqp-refresh migrate`"
        )
    return registration


def require_enabled(session: Session, table: Table) -> Registration:
    """Read the registration of a table that may be refreshed.

    Raises:
        Stopped: an operator disabled the table.
        NotFound: the table is not registered.
    """
    registration = require_registered(session, table)
    if not registration.is_enabled:
        raise Stopped(
            f"{SCHEMA}.{table.name} is disabled; `sqp-refresh enable {table.name}`, or set "
            f"is_enabled = true in {SCHEMA}.refresh_config, to refresh it again"
        )
    return registration


def mark_refreshed(
    session: Session, table: Table, *, tick: datetime | None, is_newest: bool
) -> None:
    """Record that a table was refreshed now, and when it is due next.

    Args:
        session: A session in a transaction.
        table: The table that was refreshed.
        tick: The tick of the schedule that asked for it; None where somebody else did.
        is_newest: Whether the newest period was among those refreshed; where not, it was a repair
            of old ones, and the table is as due as it was.
    """
    session.execute(
        _MARK_REFRESHED,
        {"schema": SCHEMA, "table": table.name, "tick": tick, "is_newest": is_newest},
    )


def mark_compared(session: Session, table: Table) -> None:
    """Record that a table's weeks behind the look-back were compared with the source now."""
    session.execute(_MARK_COMPARED, {"schema": SCHEMA, "table": table.name})


def read_compared_at(session: Session) -> dict[str, datetime | None]:
    """Read when each table was last compared with its source, or could first have been.

    Returns:
        By table; None where it has nothing to compare.
    """
    return dict(session.fetch_all(_COMPARED_AT, {"schema": SCHEMA}))


def configure(session: Session, table: str, changes: Changes) -> Registration:
    """Change how a table is registered, and return how it is then.

    Raises:
        SettingsError: the table is not registered, or a parameter is malformed; the transaction
            must not be committed.
    """
    values = {
        "params": Jsonb(dict(changes.params)),
        "quality": Jsonb(dict(changes.quality)),
        "unset": list(changes.unset),
        "priority": changes.priority,
        "hours": changes.frequency_hours,
    }
    is_registered = session.execute(_CONFIGURE, {"schema": SCHEMA, "table": table} | values)
    registrations = read_registrations(session)
    if not is_registered:
        choice = f"choose from {', '.join(registrations)}"
        raise SettingsError(f"there is no table {table!r} in {SCHEMA}.refresh_config; {choice}")
    SyncParams.read(table, registrations[table].custom_sync_params)
    return registrations[table]


def set_enabled(session: Session, tables: Sequence[str], *, enabled: bool) -> list[str]:
    """Enable or disable tables; return those that were not so already."""
    params = {"enabled": enabled, "schema": SCHEMA, "tables": list(tables)}
    return [table for (table,) in session.fetch_all(_SET_ENABLED, params)]
