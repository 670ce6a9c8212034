"""Compute what the dashboard shows: each table now, and night by night.

Where a table was refreshed several times in one night, the last refresh says how the night went,
and durations and rows are added up. A refresh that still runs is no figure yet.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum

from sqp_refresh.ledger.pins import Pin, list_pins
from sqp_refresh.model.periods import ALL_TIME, DAYS_IN_WEEK
from sqp_refresh.monitoring.blocked import blocks, find_blockers, read_hard_parents
from sqp_refresh.monitoring.dashboard.grid import Grid, read_grid
from sqp_refresh.monitoring.lateness import is_overdue
from sqp_refresh.monitoring.restatements import RestatedPeriod, read_restatements
from sqp_refresh.monitoring.views import (
    MetricResult,
    Night,
    TableFreshness,
    read_freshness,
    read_last_run_ids,
    read_nights,
)
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry.refresh_config import read_registrations
from sqp_refresh.settings import Settings


class Health(IntEnum):
    """How a table is, the worst first."""

    FAILED = 1
    OVERDUE = 2
    BLOCKED = 3
    NEVER = 4
    CHECKS_FAIL = 5
    WARNING = 6
    RUNNING = 7
    GOOD = 8
    OFF = 9

    @property
    def label(self) -> str:
        """Return the state in words."""
        return _LABELS[self]

    @property
    def needs_attention(self) -> bool:
        """Return whether somebody should look at the table."""
        return self <= Health.WARNING


_LABELS = {
    Health.FAILED: "Failed",
    Health.OVERDUE: "Overdue",
    Health.BLOCKED: "Blocked",
    Health.NEVER: "Never refreshed",
    Health.CHECKS_FAIL: "Checks fail",
    Health.WARNING: "Warning",
    Health.RUNNING: "Being refreshed",
    Health.GOOD: "Up to date",
    Health.OFF: "Switched off",
}


@dataclass(frozen=True, slots=True)
class TableState:
    """One table now, and its nights.

    Attributes:
        freshness: How fresh it is, and when it was and will be refreshed.
        is_overdue: Whether the schedule passed it over.
        nights: Its nights, in order.
        blocked_by: The table above it that keeps it from being refreshed, if one does.
        pins: What keeps each of its pinned periods as it is.
        next_night: The tick of the schedule that takes it next; None where that is not known.
        run_url: Where the Dagster UI shows the last run of it; None where that is not known.
        checked_weeks: How many weeks a night looks at (count).
    """

    freshness: TableFreshness
    is_overdue: bool
    nights: Sequence[Night]
    blocked_by: str | None = None
    pins: Sequence[Pin] = ()
    next_night: datetime | None = None
    run_url: str | None = None
    checked_weeks: int | None = None

    @property
    def name(self) -> str:
        """Return the table's name in schema sqp."""
        return self.freshness.table_name

    @property
    def health(self) -> Health:
        """Return how the table is: the worst that is true of it."""
        status = self.freshness.last_status
        if not self.freshness.is_enabled:
            return Health.OFF
        if status == "failed":
            return Health.FAILED
        if self.blocked_by:
            return Health.BLOCKED
        if self.is_overdue:
            return Health.OVERDUE
        if self.freshness.is_running:
            return Health.RUNNING
        if status is None:
            return Health.NEVER
        if self.failing:
            return Health.CHECKS_FAIL
        return Health.WARNING if status == "warning" else Health.GOOD

    @property
    def is_weekly(self) -> bool:
        """Return whether its newest period is a week."""
        first, last = self.freshness.newest_period_start, self.freshness.newest_period_end
        return first is not None and last is not None and (last - first).days < DAYS_IN_WEEK

    @property
    def is_whole(self) -> bool:
        """Return whether it is loaded whole, not by weeks."""
        return self.freshness.newest_period_start == ALL_TIME.start

    @property
    def failing(self) -> list[MetricResult]:
        """Return the failing metrics of its latest night."""
        return self.nights[-1].failing if self.nights else []

    @property
    def command(self) -> str:
        """Return the command that an operator begins with where it needs attention."""
        return _COMMANDS.get(self.health, "sqp-refresh history {}").format(shlex.quote(self.name))


_COMMANDS = {
    Health.OVERDUE: "sqp-refresh doctor",
    Health.NEVER: "sqp-refresh refresh --table {}",
    Health.CHECKS_FAIL: "sqp-refresh check --table {}",
}


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the dashboard shows.

    Attributes:
        at: The instant that all of it is as of.
        days: The days it covers, in order; the last one is today.
        tables: As the registry orders them, the highest priority first.
        problem: What keeps every table from being refreshed; None where nothing is known to.
        restated: The weeks that were restated in these days, the newest week first.
        grid: How the weeks of all tables stand.
        dataset: The dataset in BigQuery that the tables are filled from; None where it is not set.
        runbook_url: Where the runbook is; None where it is not set.
    """

    at: datetime
    days: Sequence[date]
    tables: Sequence[TableState]
    problem: str | None = None
    restated: Sequence[RestatedPeriod] = ()
    grid: Grid = field(default_factory=Grid)
    dataset: str | None = None
    runbook_url: str | None = None

    @property
    def worst_first(self) -> list[TableState]:
        """Return the tables, those that need attention first."""
        return sorted(self.tables, key=lambda table: table.health)

    @property
    def troubled(self) -> list[TableState]:
        """Return the tables that somebody should look at."""
        return [table for table in self.tables if table.health.needs_attention]

    @property
    def verdict(self) -> str:
        """Return the one sentence that says how things are."""
        enabled = [table for table in self.tables if table.health is not Health.OFF]
        troubled, all_ = len(self.troubled), len(enabled)
        if self.problem:
            return "Nothing is refreshed"
        if not all_:
            return "No table is enabled"
        if not self.nights:
            return f"No refresh in {len(self.days)} days"
        off = len(self.tables) - all_
        others = f", {off} switched off" if off else ""
        if troubled:
            verb = "needs" if troubled == 1 else "need"
            return f"{troubled} of {all_} tables {verb} attention{others}"
        if all_ == 1:
            return f"The table is up to date{others}"
        return f"{'' if off else 'All '}{all_} tables are up to date{others}"

    @property
    def command(self) -> str | None:
        """Return the command that an operator begins with; None where nothing is to be done."""
        if self.problem:
            return "sqp-refresh doctor"
        if all(table.health is Health.OFF for table in self.tables):
            return "sqp-refresh enable --all"
        if not self.nights:
            return "sqp-refresh refresh"
        if not self.troubled:
            return None
        worst = self.worst_first[0]
        by_name = {table.name: table for table in self.tables}
        return by_name.get(worst.blocked_by or worst.name, worst).command

    @property
    def nights(self) -> list[Night]:
        """Return the nights of all tables."""
        return [night for table in self.tables for night in table.nights]

    @property
    def success_rate(self) -> float | None:
        """Return the share of refreshes that were a success (percent); None where none ended."""
        ended = sum(night.refreshes for night in self.nights)
        return 100 * sum(night.successes for night in self.nights) / ended if ended else None

    @property
    def pass_rate(self) -> float | None:
        """Return the share of checks that passed (percent); None where none was judged."""
        judged = sum(len(night.judged) for night in self.nights)
        failing = sum(len(night.failing) for night in self.nights)
        return 100 * (judged - failing) / judged if judged else None

    @property
    def good_nights(self) -> int:
        """Return how many nights in a row, up to the latest, ended without a failed table."""
        by_day = self.nights_by_day()
        good = 0
        for day in sorted(by_day, reverse=True):
            if any(night.status == "failed" for night in by_day[day]):
                break
            good += 1
        return good

    def nights_by_day(self) -> dict[date, list[Night]]:
        """Return the nights of all tables by their day."""
        nights: dict[date, list[Night]] = {}
        for night in self.nights:
            nights.setdefault(night.day, []).append(night)
        return nights


def read_figures(
    session: Session,
    at: datetime,
    *,
    days: int,
    last_tick: datetime | None = None,
    problem: str | None = None,
    settings: Settings | None = None,
    next_tick: Callable[[datetime], datetime] | None = None,
) -> Figures:
    """Read the figures of the last days.

    Args:
        session: A session in a transaction.
        at: The instant that the figures are as of.
        days: How many days to look back, today included.
        last_tick: The schedule's last tick that is at least `lateness.GRACE` ago; without it, no
            table counts as overdue.
        problem: What keeps every table from being refreshed, if anything does.
        settings: Where dataset, runs and runbook are; those of this process by default.
        next_tick: Returns the schedule's next tick at an instant or after it; without it, no night
            to come is known.
    """
    settings = settings or Settings.read()
    today = at.astimezone(UTC).date()
    covered = [today - timedelta(days=back) for back in reversed(range(days))]
    tables = _read_tables(session, covered[0], last_tick, settings)
    if next_tick:
        tables = [
            replace(table, next_night=next_tick(max(at, table.freshness.next_refresh_at)))
            for table in tables
        ]
    restated = read_restatements(session, since=covered[0])
    weeks = [period for period in restated if period.is_week]
    weeks.sort(key=lambda week: week.period, reverse=True)
    grid = read_grid(session, [table.name for table in tables], at)
    dataset, runbook_url = settings.BIGQUERY_DATASET, settings.REFRESH_RUNBOOK_URL
    return Figures(at, covered, tables, problem, weeks, grid, dataset, runbook_url)


def _read_tables(
    session: Session, since: date, last_tick: datetime | None, settings: Settings
) -> list[TableState]:
    """Read how every table is, and its nights since a day."""
    nights: dict[str, list[Night]] = {}
    for night in read_nights(session, since=since):
        nights.setdefault(night.table_name, []).append(night)
    freshness = read_freshness(session)
    failing = {name for name, past in nights.items() if any(map(blocks, past[-1].failing))}
    blockers = find_blockers(freshness, read_hard_parents(session), failing)
    pins: dict[str, list[Pin]] = {}
    for pin in list_pins(session):
        pins.setdefault(pin.table, []).append(pin)
    run_ids, checked_weeks = read_last_run_ids(session), _checked_weeks(session, settings)
    # A table that was never enabled is of no interest.
    shown = (table for table in freshness if table.is_enabled or table.last_started_at is not None)
    return [
        TableState(
            table,
            is_overdue(table, last_tick),
            nights.get(table.table_name, []),
            blockers.get(table.table_name),
            pins.get(table.table_name, []),
            run_url=settings.run_url(run_ids.get(table.table_name)),
            checked_weeks=checked_weeks.get(table.table_name),
        )
        for table in shown
    ]


def _checked_weeks(session: Session, settings: Settings) -> dict[str, int]:
    """Return how many weeks a night looks at, by the name of each table."""
    return {
        name: registration.sync_params_if_readable.lookback_weeks or settings.REFRESH_LOOKBACK_WEEKS
        for name, registration in read_registrations(session).items()
    }
