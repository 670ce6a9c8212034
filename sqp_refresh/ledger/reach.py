"""Read how far back the history of each period of a table reaches."""

from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

_REACHES = in_schema("""
SELECT period_start, period_end, history_since,
    history_since IS NOT NULL AND coalesce(%(at)s >= first_published_at, true) AS was_published,
    coalesce(%(at)s >= history_since, false) AS is_known,
    EXISTS (
        SELECT FROM sqp.refresh_history AS change
        WHERE change.table_schema = entry.table_schema AND change.table_name = entry.table_name
            AND change.period_start = entry.period_start AND change.changed_at > %(at)s
    ) OR history_since > %(at)s AS is_changed
FROM sqp.refresh_periods AS entry
WHERE table_schema = %(schema)s AND table_name = %(table)s
ORDER BY period_start
""")


@dataclass(frozen=True, slots=True)
class Reach:
    """Whether the history of a period reaches back to an instant.

    Attributes:
        period_start: First day of the period.
        period_end: Last day of it.
        history_since: Since when the history tells how it was; None where it never had rows.
        was_published: Whether it had been published with rows by then, as far as is known.
        is_known: Whether the history reaches back to then.
        is_changed: Whether it has been published with a change since.
    """

    period_start: date
    period_end: date
    history_since: datetime | None
    was_published: bool
    is_known: bool
    is_changed: bool

    @property
    def period(self) -> Period:
        """The period."""
        return Period(self.period_start, self.period_end)


def read_reaches(session: Session, table: Table, at: datetime) -> dict[Period, Reach]:
    """Read, of every period of a table, whether its history reaches back to an instant."""
    params = {"schema": SCHEMA, "table": table.name, "at": at}
    reaches = session.fetch_all(_REACHES, params, row_factory=class_row(Reach))
    return {reach.period: reach for reach in reaches}
