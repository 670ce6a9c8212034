"""Keep the pins `sqp.refresh_pins`: periods that no refresh copies until somebody unpins them.

A period is pinned where the source is known to be worse than the table: it was rolled back, or
published as the source stood at an earlier instant. `decide` asks for the pins of a table, and
everything else asks what was decided.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from psycopg.rows import class_row

from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

_PIN = in_schema("""
INSERT INTO sqp.refresh_pins (table_schema, table_name, period_start, reason, pinned_by)
SELECT %(schema)s, %(table)s, first_day, %(reason)s, coalesce(%(pinned_by)s, session_user)
FROM unnest(%(first_days)s::date[]) AS first_day
ON CONFLICT (table_schema, table_name, period_start) DO UPDATE
SET reason = excluded.reason, pinned_by = excluded.pinned_by, pinned_at = now()
""")
# Whoever unpins a period wants what its source says, however much of it that is.
_UNPIN = in_schema("""
WITH pin AS (
    DELETE FROM sqp.refresh_pins
    WHERE table_schema = %(schema)s AND table_name = %(table)s
        AND (%(first_days)s::date[] IS NULL OR period_start = ANY(%(first_days)s::date[]))
    RETURNING table_schema, table_name, period_start
), entry AS (
    UPDATE sqp.refresh_periods AS entry SET needs_reload = true, accepts_any_change = true
    FROM pin
    WHERE entry.table_schema = pin.table_schema AND entry.table_name = pin.table_name
        AND entry.period_start = pin.period_start
)
SELECT period_start FROM pin ORDER BY period_start
""")
_PINS = in_schema("""
SELECT table_name AS table, period_start, reason, pinned_by, pinned_at FROM sqp.refresh_pins
WHERE table_schema = %(schema)s AND table_name = coalesce(%(table)s, table_name)
ORDER BY table_name, period_start
""")
IS_UNPINNED = in_schema("""
NOT EXISTS (
    SELECT FROM sqp.refresh_pins AS pin WHERE pin.table_schema = entry.table_schema
        AND pin.table_name = entry.table_name AND pin.period_start = entry.period_start
)
""")
"""The condition that a period of the ledger, `sqp.refresh_periods AS entry`, is not pinned."""


@dataclass(frozen=True, slots=True)
class Pin:
    """A period that no refresh copies.

    Attributes:
        table: Name of the table.
        period_start: First day of the week or period.
        reason: Why it is pinned.
        pinned_by: Who pinned it: a run, or a user of the database.
        pinned_at: When it was pinned.
    """

    table: str
    period_start: date
    reason: str
    pinned_by: str
    pinned_at: datetime

    def __str__(self) -> str:
        """Say who pinned it, when and why."""
        return f"{self.reason} (by {self.pinned_by}, {self.pinned_at:%Y-%m-%d})"


def pin(
    session: Session,
    table: Table,
    periods: Iterable[Period],
    *,
    reason: str,
    pinned_by: str | None = None,
) -> None:
    """Pin periods, in the transaction that publishes what they are to keep.

    Args:
        session: A session in a transaction.
        table: The table.
        periods: The periods; one that is pinned already is pinned for this reason now.
        reason: Why, for people.
        pinned_by: Who pins them; None is the user of the database.
    """
    days = [period.start for period in periods]
    params = {"first_days": days, "reason": reason, "pinned_by": pinned_by}
    session.execute(_PIN, _name(table) | params)


def pin_as_of(
    session: Session, table: Table, periods: Iterable[Period], instant: datetime, *, run_id: str
) -> None:
    """Pin periods that hold what their source said at an earlier instant.

    Args:
        session: A session in a transaction.
        table: The table.
        periods: The periods.
        instant: When the source was read as of.
        run_id: The run that does it.
    """
    reason = f"as the source stood at {instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    pin(session, table, periods, reason=reason, pinned_by=f"run {run_id}")


def unpin(session: Session, table: Table, periods: Iterable[Period] | None = None) -> list[date]:
    """Let pinned periods go: the next refresh of the table loads them, whatever its weeks.

    Args:
        session: A session in a transaction.
        table: The table.
        periods: The periods; None is all that are pinned.

    Returns:
        The first day of each period that was pinned.
    """
    days = None if periods is None else [period.start for period in periods]
    return [day for (day,) in session.fetch_all(_UNPIN, _name(table) | {"first_days": days})]


def read_pins(session: Session, table: Table) -> dict[date, Pin]:
    """Read the pins of a table, by the first day of each pinned period."""
    pins = session.fetch_all(_PINS, _name(table), row_factory=class_row(Pin))
    return {pin.period_start: pin for pin in pins}


def list_pins(session: Session) -> list[Pin]:
    """List the pins of all tables."""
    params = {"schema": SCHEMA, "table": None}
    return session.fetch_all(_PINS, params, row_factory=class_row(Pin))


def _name(table: Table) -> dict[str, Any]:
    return {"schema": SCHEMA, "table": table.name}
