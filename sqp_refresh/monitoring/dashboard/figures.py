"""What the dashboard shows, read from the operating views: each table now, and night by night.

Where a table was refreshed several times in one night, the last refresh says how the night went,
and durations and rows are added up. A refresh that still runs is no figure yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum

from psycopg import sql

from sqp_refresh.model.periods import DAYS_IN_WEEK
from sqp_refresh.postgres.session import Session

PATIENCE = timedelta(hours=2)
"""How long a night may take before a table that was due counts as overdue."""

_STATES = sql.SQL("""
SELECT table_name, is_enabled, refresh_frequency_hours, next_refresh_at, last_status, last_message,
    last_refresh_at, newest_period_start, newest_period_end, row_count,
    EXISTS (
        SELECT FROM sqp.refresh_runs AS run
        WHERE run.table_name = fresh.table_name AND completed_at IS NULL
    )
FROM sqp.refresh_freshness AS fresh
WHERE is_enabled OR last_started_at IS NOT NULL
ORDER BY priority DESC, table_name
""")
_NIGHTS = sql.SQL("""
SELECT table_name, night, status, error_message, runs, successes,
    (coalesce(execution_time_ms, 0) / 1000.0)::float8, coalesce(rows_processed, 0),
    coalesce(rows_inserted, 0), coalesce(rows_updated, 0), coalesce(rows_deleted, 0)
FROM sqp.refresh_nightly
WHERE night >= {since}
ORDER BY table_name, night
""")
_METRICS = sql.SQL("""
SELECT DISTINCT ON (table_name, night, metric_name)
    table_name, night, metric_name, metric_value::float8, expected_value::float8,
    threshold_min::float8, threshold_max::float8, is_within_threshold
FROM sqp.refresh_quality
WHERE night >= {since}
ORDER BY table_name, night, metric_name, audit_log_id DESC
""")


class Health(IntEnum):
    """How a table is, the worst first."""

    FAILED = 1
    OVERDUE = 2
    NEVER = 3
    CHECKS_FAIL = 4
    WARNING = 5
    RUNNING = 6
    GOOD = 7
    OFF = 8

    @property
    def said(self) -> str:
        """The state in words."""
        return _SAID[self]

    @property
    def needs_attention(self) -> bool:
        """Whether somebody should look at the table."""
        return self <= Health.WARNING


_SAID = {
    Health.FAILED: "Failed",
    Health.OVERDUE: "Overdue",
    Health.NEVER: "Never refreshed",
    Health.CHECKS_FAIL: "Checks fail",
    Health.WARNING: "Warning",
    Health.RUNNING: "Being refreshed",
    Health.GOOD: "Up to date",
    Health.OFF: "Switched off",
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One quality metric of a night, as `sqp.refresh_data_quality` has it; None is not known."""

    name: str
    value: float | None
    expected: float | None
    minimum: float | None
    maximum: float | None
    ok: bool | None


@dataclass(frozen=True, slots=True)
class Night:
    """What one night did to one table.

    Attributes:
        day: The day in UTC.
        status: Of its last refresh: success, warning or failed.
        message: What that refresh said.
        refreshes: Refreshes that ended, more than one where it was diagnose again (count).
        successes: Those that were a success (count).
        seconds: How long they took together.
        read: Rows read or computed (count).
        inserted: Rows that were new (count).
        updated: Rows that changed (count).
        deleted: Rows that vanished (count).
        metrics: What its checks found.
    """

    day: date
    status: str
    message: str | None
    refreshes: int
    successes: int
    seconds: float
    read: int
    inserted: int
    updated: int
    deleted: int
    metrics: Sequence[Metric]

    @property
    def changed(self) -> int:
        """Rows inserted, updated and deleted."""
        return self.inserted + self.updated + self.deleted

    @property
    def judged(self) -> list[Metric]:
        """The metrics that there was something to judge by."""
        return [metric for metric in self.metrics if metric.ok is not None]

    @property
    def broken(self) -> list[Metric]:
        """The metrics that are not within their thresholds."""
        return [metric for metric in self.metrics if metric.ok is False]

    @property
    def freshness_days(self) -> Metric | None:
        """Days since the newest week ended; None where that was not measured."""
        measured = (one for one in self.metrics if one.name == "freshness_days")
        return next((one for one in measured if one.value is not None), None)


@dataclass(frozen=True, slots=True)
class TableState:
    """One table now, and its nights.

    Attributes:
        table: Its name in schema sqp.
        is_enabled: Whether it may be refreshed.
        frequency_hours: Hours between two refreshes.
        next_due: From when on it is due.
        status: How its last refresh that is over ended; None where there was none.
        message: What that said.
        refreshed: When a refresh last went through, with or without a warning.
        newest_start: First day of the newest week or period that it has rows of.
        newest_end: Its last day.
        rows: Rows in the table (count).
        is_running: Whether a refresh is at work.
        nights: Its nights, in order.
    """

    table: str
    is_enabled: bool
    frequency_hours: int
    next_due: datetime
    status: str | None
    message: str | None
    refreshed: datetime | None
    newest_start: date | None
    newest_end: date | None
    rows: int
    is_running: bool
    nights: Sequence[Night]

    def health(self, at: datetime) -> Health:
        """How the table is at an instant."""
        if not self.is_enabled:
            return Health.OFF
        if self.status == "failed":
            return Health.FAILED
        if self.is_overdue(at):
            return Health.OVERDUE
        if self.is_running:
            return Health.RUNNING
        if self.status is None:
            return Health.NEVER
        if self.broken:
            return Health.CHECKS_FAIL
        return Health.WARNING if self.status == "warning" else Health.GOOD

    @property
    def is_weekly(self) -> bool:
        """Whether its newest period is a week."""
        first, last = self.newest_start, self.newest_end
        return first is not None and last is not None and (last - first).days < DAYS_IN_WEEK

    def days_behind(self, at: datetime) -> int | None:
        """Days since its newest period ended, 0 while that lasts; None where it has none."""
        if self.newest_end is None:
            return None
        return max(0, (at.astimezone(UTC).date() - self.newest_end).days)

    @property
    def broken(self) -> list[Metric]:
        """What the checks of its latest night found wrong."""
        return self.nights[-1].broken if self.nights else []

    def is_overdue(self, at: datetime) -> bool:
        """Whether it should have been refreshed by now.

        A table that is due after a night's tick waits for the next one, so both count: that it is
        due, and that its last refresh is longer ago than it should ever be.
        """
        if self.refreshed is None:
            return self.next_due + timedelta(hours=self.frequency_hours) + PATIENCE < at
        latest = self.refreshed + timedelta(hours=self.frequency_hours) + PATIENCE
        return self.next_due < at and latest < at


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the dashboard shows.

    Attributes:
        at: The instant that all of it is as of.
        days: The days it covers, in order; the last one is today.
        tables: As the registry orders them, the highest priority first.
    """

    at: datetime
    days: Sequence[date]
    tables: Sequence[TableState]

    @property
    def worst_first(self) -> list[TableState]:
        """The tables, what needs attention first."""
        return sorted(self.tables, key=lambda table: table.health(self.at))

    @property
    def troubled(self) -> list[TableState]:
        """The tables that somebody should look at."""
        return [table for table in self.tables if table.health(self.at).needs_attention]

    @property
    def verdict(self) -> str:
        """The one sentence that says how things are."""
        troubled, all_ = len(self.troubled), len(self.tables)
        if not any(table.nights for table in self.tables):
            return f"No refresh in {len(self.days)} days" if all_ else "No table is enabled"
        if troubled:
            return f"{troubled} of {all_} tables {'needs' if troubled == 1 else 'need'} attention"
        return f"All {all_} tables are up to date" if all_ > 1 else "The table is up to date"

    @property
    def success_rate(self) -> float | None:
        """Refreshes that were a success, of those that ended (percent); None where none did."""
        nights = [night for table in self.tables for night in table.nights]
        ended = sum(night.refreshes for night in nights)
        return 100 * sum(night.successes for night in nights) / ended if ended else None

    @property
    def pass_rate(self) -> float | None:
        """Checks that were passed, of those that were judged (percent); None where none was."""
        nights = [night for table in self.tables for night in table.nights]
        judged = sum(len(night.judged) for night in nights)
        broken = sum(len(night.broken) for night in nights)
        return 100 * (judged - broken) / judged if judged else None

    @property
    def good_nights(self) -> int:
        """Nights in a row, up to the latest one, that ended without a failed table (count)."""
        by_day = self.by_day()
        good = 0
        for day in sorted(by_day, reverse=True):
            if any(night.status == "failed" for night in by_day[day]):
                break
            good += 1
        return good

    def by_day(self) -> dict[date, list[Night]]:
        """The nights of all tables, by their day."""
        found: dict[date, list[Night]] = {}
        for table in self.tables:
            for night in table.nights:
                found.setdefault(night.day, []).append(night)
        return found


def read(session: Session, at: datetime, *, days: int) -> Figures:
    """Read the figures of the last days.

    Args:
        session: A session in a transaction.
        at: The instant that the state of each table is as of.
        days: How many days to look back, today included.
    """
    today = at.astimezone(UTC).date()
    covered = [today - timedelta(days=back) for back in reversed(range(days))]
    since = sql.Literal(covered[0])
    metrics: dict[tuple[str, date], list[Metric]] = {}
    for table, night, *metric in session.rows(_METRICS.format(since=since)):
        metrics.setdefault((table, night), []).append(Metric(*metric))
    nights: dict[str, list[Night]] = {}
    for table, night, *numbers in session.rows(_NIGHTS.format(since=since)):
        of_night = metrics.get((table, night), [])
        nights.setdefault(table, []).append(Night(night, *numbers, metrics=of_night))
    states = [
        TableState(table, *state, nights=nights.get(table, []))
        for table, *state in session.rows(_STATES)
    ]
    return Figures(at, covered, states)
