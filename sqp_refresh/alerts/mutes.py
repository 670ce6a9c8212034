"""Keep the mutes `sqp.refresh_mutes`: what receivers are not alerted of until a day is over."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row

from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.model.text import printable
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

# An alert of several weeks is muted where each of them is.
IS_MUTED = in_schema("""
(
    EXISTS (
        SELECT FROM sqp.refresh_mutes AS mute
        WHERE mute.table_schema = %(schema)s AND mute.table_name = %(table)s
            AND period_start IS NULL AND muted_until >= (now() AT TIME ZONE 'UTC')::date
    )
    OR cardinality(%(weeks)s::text[]) > 0 AND NOT EXISTS (
        SELECT FROM unnest(%(weeks)s::text[]) AS week
        WHERE NOT EXISTS (
            SELECT FROM sqp.refresh_mutes AS mute
            WHERE mute.table_schema = %(schema)s
                AND coalesce(mute.table_name, %(table)s) = %(table)s
                AND period_start::text = week
                AND muted_until >= (now() AT TIME ZONE 'UTC')::date
        )
    )
)
""")
"""The condition that an alert of %(table)s and %(weeks)s, their first days, is muted."""

_MUTE = in_schema("""
WITH superseded AS (
    DELETE FROM sqp.refresh_mutes
    WHERE muted_until < (now() AT TIME ZONE 'UTC')::date
        OR table_schema = %(schema)s
        AND (table_name, period_start) IS NOT DISTINCT FROM (%(table)s, %(period_start)s::date)
)
INSERT INTO sqp.refresh_mutes (table_schema, table_name, period_start, muted_until, reason)
VALUES (%(schema)s, %(table)s, %(period_start)s, %(muted_until)s, %(reason)s)
RETURNING table_name AS table, period_start, muted_until, reason, muted_by, muted_at
""")
_UNMUTE = in_schema("""
DELETE FROM sqp.refresh_mutes
WHERE table_schema = %(schema)s
    AND (%(tables)s::text[] IS NULL OR table_name = ANY(%(tables)s))
    AND (%(days)s::date[] IS NULL OR period_start = ANY(%(days)s))
RETURNING table_name AS table, period_start, muted_until, reason, muted_by, muted_at
""")
_MUTES = in_schema("""
SELECT table_name AS table, period_start, muted_until, reason, muted_by, muted_at
FROM sqp.refresh_mutes
WHERE table_schema = %(schema)s AND muted_until >= (now() AT TIME ZONE 'UTC')::date
ORDER BY table_name NULLS FIRST, period_start NULLS FIRST
""")


@dataclass(frozen=True, slots=True)
class Mute:
    """What receivers are not alerted of: a table, a week, or a week of a table.

    Attributes:
        table: Name of the table; None is every table.
        period_start: First day of the week or period; None is whatever is wrong with the table.
        muted_until: The last day of it, in UTC.
        reason: Why, for people; may be empty.
        muted_by: Who muted it: a user of the database.
        muted_at: When it was muted.
    """

    table: str | None
    period_start: date | None
    muted_until: date
    reason: str
    muted_by: str
    muted_at: datetime

    @property
    def subject(self) -> str:
        """What is muted."""
        week = f"the week of {self.period_start}"
        if self.table is None:
            return f"{week} in every table"
        return self.table if self.period_start is None else f"{week} in {self.table}"

    def __str__(self) -> str:
        """Say what is muted, until when, why, and by whom."""
        why = f": {self.reason}" if self.reason else ""
        return printable(
            f"{self.subject} until {self.muted_until}{why} "
            f"(by {self.muted_by}, {self.muted_at:%Y-%m-%d})"
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "table": self.table,
            "period_start": self.period_start,
            "muted_until": self.muted_until,
            "reason": self.reason,
            "muted_by": self.muted_by,
            "muted_at": self.muted_at,
        }


def mute(
    session: Session, table: str | None, period_start: date | None, until: date, reason: str
) -> Mute:
    """Mute a table, a week, or a week of a table; one that is muted is so until this day now.

    Args:
        session: A session in a transaction.
        table: Name of the table; None is every table.
        period_start: First day of the week or period; None is whatever is wrong with the table.
        until: The last day of it, in UTC.
        reason: Why, for people.
    """
    params = {
        "schema": SCHEMA,
        "table": table,
        "period_start": period_start,
        "muted_until": until,
        "reason": reason,
    }
    (muted,) = session.fetch_all(_MUTE, params, row_factory=class_row(Mute))
    return muted


def unmute(
    session: Session, tables: Iterable[str] | None = None, days: Iterable[date | None] | None = None
) -> list[Mute]:
    """Take mutes back, all of them unless tables or first days of weeks are named; return them."""
    params = {
        "schema": SCHEMA,
        "tables": None if tables is None else list(tables),
        "days": None if days is None else list(days),
    }
    return session.fetch_all(_UNMUTE, params, row_factory=class_row(Mute))


def list_mutes(session: Session) -> list[Mute]:
    """List the mutes that are in force."""
    return session.fetch_all(_MUTES, {"schema": SCHEMA}, row_factory=class_row(Mute))
