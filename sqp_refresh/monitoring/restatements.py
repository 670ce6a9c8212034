"""Read how often published periods were restated, and what that did to their sums."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from typing import Any

from psycopg.rows import dict_row

from sqp_refresh.model.periods import DAYS_IN_WEEK, Period
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

COUNTS = ("asin_impressions", "asin_clicks", "asin_cart_adds", "asin_purchases")
"""An ASIN's own counts, of which the view has the sums before and after each run."""

_RESTATEMENTS = in_schema("""
SELECT * FROM sqp.restatements
WHERE (%(tables)s::text[] IS NULL OR table_name = ANY(%(tables)s))
    AND (%(day)s::date IS NULL OR %(day)s BETWEEN period_start AND period_end)
    AND (%(since)s::timestamptz IS NULL OR restated_at >= %(since)s)
ORDER BY table_name, period_start, restated_at, audit_log_id
""")


@dataclass(frozen=True, slots=True)
class RestatedPeriod:
    """A period of a table, and the runs that changed it after it was first published.

    Attributes:
        table: Name of the table.
        period: The period.
        runs: The rows of `sqp.restatements`, in order of time; there is at least one.
    """

    table: str
    period: Period
    runs: Sequence[dict[str, Any]]

    @property
    def restated_at(self) -> datetime:
        """When the last of them changed it."""
        return self.runs[-1]["restated_at"]

    @property
    def is_week(self) -> bool:
        """Whether it is a week, not a longer period."""
        return (self.period.end - self.period.start).days < DAYS_IN_WEEK

    @property
    def rows(self) -> dict[str, int]:
        """How many rows all of them inserted, updated and deleted, by what they did (count)."""
        return {
            what: sum(run[f"rows_{what}"] for run in self.runs)
            for what in ("inserted", "updated", "deleted")
        }

    @property
    def sums(self) -> dict[str, tuple[int, int]]:
        """The sum of each own count before the first of them and after the last, by its name.

        Empty where the table has no such counts.
        """
        first, last = self.runs[0], self.runs[-1]
        return {
            name: (int(first[f"{name}_before"]), int(last[f"{name}_after"]))
            for name in COUNTS
            if first[f"{name}_before"] is not None
        }

    def __str__(self) -> str:
        """Say it in one line."""
        often = "once" if len(self.runs) == 1 else f"{len(self.runs)} times"
        rows = ", ".join(f"{rows:,} {what}" for what, rows in self.rows.items() if rows)
        parts = [f"{_named(self.period)} was restated {often}", f"rows: {rows}", *self._changes()]
        return f"{'; '.join(parts)}; last at {self.restated_at:%Y-%m-%d %H:%M} UTC"

    def _changes(self) -> Iterator[str]:
        for name, (before, after) in self.sums.items():
            if before != after:
                words = name.removeprefix("asin_").replace("_", " ")
                yield f"{words} {before:,} → {after:,}"
        if self.sums and all(before == after for before, after in self.sums.values()):
            yield "impressions, clicks, cart adds and purchases add up to what they did"


def read_restatements(
    session: Session,
    tables: Iterable[str] | None = None,
    day: date | None = None,
    since: date | None = None,
) -> list[RestatedPeriod]:
    """Read which periods were restated, by table and in order of time.

    Args:
        session: A session with the target.
        tables: Names of the tables; None is all.
        day: A day of the period; None is any.
        since: The first day, in UTC, on which a run counts; None is any.
    """
    params = {"tables": None if tables is None else list(tables), "day": day, "since": since}
    runs = session.fetch_all(_RESTATEMENTS, params, row_factory=dict_row)
    by_period = groupby(runs, lambda run: (run["table_name"], run["period_start"]))
    return [
        RestatedPeriod(table, Period(first, of_period[-1]["period_end"] or first), of_period)
        for (table, first), grouped in by_period
        if (of_period := list(grouped))
    ]


def as_json(run: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the view for programs: sums are numbers, instants are texts."""
    return {
        name: int(value) if isinstance(value, Decimal) else value for name, value in run.items()
    }


def _named(period: Period) -> str:
    days = (period.end - period.start).days + 1
    kind = "week" if days <= DAYS_IN_WEEK else "period"
    return "the whole table" if days > 366 else f"the {kind} of {period}"
