"""Check the criteria of the guide's list that the monitoring views answer, one function each.

A night is a tick of the schedule. It went well for a table where a run that no person launched went
through for it, with or without a warning.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from sqp_refresh.alerts.mutes import Mute
from sqp_refresh.checks.metrics import METRICS, CheckSeverity
from sqp_refresh.ledger.verdicts import FailedMetric
from sqp_refresh.model.periods import Period
from sqp_refresh.model.text import listing, utc_minute
from sqp_refresh.monitoring.doctor.diagnosis import Diagnosis
from sqp_refresh.monitoring.lateness import idle_ticks, is_overdue
from sqp_refresh.monitoring.status.missed_nights import find_missed_nights
from sqp_refresh.monitoring.status.stale_periods import Staleness, pin_problems, stale_problems
from sqp_refresh.monitoring.status.status_model import Criterion, Problem, Severity
from sqp_refresh.monitoring.views import MetricResult, ServedTicks, TableFreshness

WINDOW = timedelta(days=7)

_FINE = (None, "success")
"""How the last run of a table may have ended for there to be no problem of its own."""

_DASHBOARD_VIEWS = ("refresh_success_rate", "data_quality_overview")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the views show at one instant, and when the schedule should have ticked.

    Attributes:
        now: When it is, by the clock of Postgres.
        tables: Every registered table.
        served_ticks: What became of each tick that a run served.
        metrics: The metrics of each table's last judged run.
        failed_metrics: The metrics that periods of any age failed when they were last judged.
        view_rows: Rows that each view shows (count).
        ticks: The schedule's ticks of the last seven days that are `GRACE` ago, in order.
        writes: Whether the database takes writes.
        staleness: What is known of the weeks that no night looks at any more.
        blockers: The table that each blocked table waits for, by its name.
        mutes: What receivers are not alerted of.
    """

    now: datetime
    tables: Sequence[TableFreshness]
    served_ticks: ServedTicks
    metrics: Sequence[MetricResult]
    failed_metrics: Sequence[FailedMetric]
    view_rows: Mapping[str, int]
    ticks: Sequence[datetime]
    writes: Diagnosis
    staleness: Staleness = field(default_factory=Staleness)
    blockers: Mapping[str, str] = field(default_factory=dict)
    mutes: Sequence[Mute] = ()

    @property
    def enabled(self) -> list[TableFreshness]:
        """The tables that may be refreshed."""
        return [table for table in self.tables if table.is_enabled]

    @property
    def overdue(self) -> list[str]:
        """The names of the tables that the last tick should have refreshed, and did not."""
        last_tick = self.ticks[-1] if self.ticks else None
        return [
            table.table_name
            for table in self.tables
            if table.table_name not in self.blockers and is_overdue(table, last_tick)
        ]

    @property
    def nothing_enabled(self) -> list[Problem]:
        """The problem that no table is enabled: what is said of none of them is no yes."""
        message = "every table is disabled, so that there is nothing to judge"
        return [] if self.enabled else [Problem(Severity.NOT_YET, message)]


def check_schedule(snapshot: Snapshot, daemon: Diagnosis) -> Criterion:
    """Return whether the last tick took every table that was due, and the next one will.

    Args:
        snapshot: What the views show.
        daemon: Whether the orchestrator's daemon lives.
    """
    problems = [
        Problem(
            Severity.BROKEN if diagnosis.is_answered else Severity.UNANSWERED, diagnosis.message
        )
        for diagnosis in (daemon, snapshot.writes)
        if not diagnosis.is_ok
    ]
    if not snapshot.enabled:
        message = "every table is disabled; `sqp-refresh enable --all` to go on"
        problems.append(Problem(Severity.BROKEN, message))
    if snapshot.overdue:
        message = (
            f"{listing(snapshot.overdue)} overdue since {utc_minute(snapshot.ticks[-1])}, and no "
            "run was launched; see `sqp-refresh doctor`, and refresh with `sqp-refresh refresh`"
        )
        problems.append(Problem(Severity.BROKEN, message))
    problems += _never_served(snapshot)
    last = max((table.last_tick for table in snapshot.tables if table.last_tick), default=None)
    night = f"the last night was that of {utc_minute(last)}; {daemon.message}" if last else ""
    idle = idle_ticks(snapshot.tables, snapshot.ticks)
    message = "; ".join(filter(None, (night, idle)))
    return Criterion("on_schedule", message, problems)


def _never_served(snapshot: Snapshot) -> list[Problem]:
    """Return a problem for the tables that still wait for the first tick that finds them due."""
    waiting = [
        table
        for table in snapshot.enabled
        if table.last_tick is None and table.table_name not in snapshot.overdue
    ]
    if not waiting:
        return []
    due = min(table.next_refresh_at for table in waiting)
    names = listing(table.table_name for table in waiting)
    message = f"no night has taken {names} yet; due from {utc_minute(due)}"
    # Where nights have taken other tables, these are new, and the schedule is as it should be.
    is_new = len(waiting) < len(snapshot.enabled)
    return [Problem(Severity.LOOK if is_new else Severity.NOT_YET, message)]


def check_refreshes(snapshot: Snapshot) -> Criterion:
    """Return whether the last run of every enabled table went through."""
    tables = snapshot.enabled
    problems = [
        *snapshot.nothing_enabled,
        *(_refresh_problem(table) for table in tables if table.last_status not in _FINE),
        *_blocked_problems(snapshot),
    ]
    never = [table.table_name for table in tables if table.last_status is None]
    if never:
        message = f"{listing(never)} not refreshed in the last 90 days; run `sqp-refresh refresh`"
        problems.append(Problem(Severity.BROKEN, message))
    if not snapshot.writes.is_ok:
        # The log ends where the database became read-only, and would say that all is well.
        message = f"what has run since is not on record: {snapshot.writes.message}"
        problems.append(Problem(Severity.UNANSWERED, message))
    good = sum(
        table.last_status in ("success", "warning") and table.table_name not in snapshot.blockers
        for table in tables
    )
    message = f"the last run of {good} of {len(tables)} tables went through"
    return Criterion("succeeding", message, problems)


def _blocked_problems(snapshot: Snapshot) -> Iterator[Problem]:
    """Return a problem for each table that others wait for."""
    tables = {table.table_name: table for table in snapshot.tables}
    for blocker in dict.fromkeys(snapshot.blockers.values()):
        waiting = [name for name, other in snapshot.blockers.items() if other == blocker]
        refreshed = [at for name in waiting if (at := tables[name].last_refresh_at)]
        since = f" since {utc_minute(min(refreshed))}" if refreshed else ""
        message = (
            f"{listing(waiting)} not refreshed{since}, blocked by {blocker}; see "
            f"`sqp-refresh history {blocker}`"
        )
        yield Problem(Severity.BROKEN, message)


def _refresh_problem(table: TableFreshness) -> Problem:
    message = f"{table.table_name} {table.last_status}: {table.last_message}"
    if table.last_status != "failed":
        return Problem(Severity.LOOK, message)
    return Problem(Severity.BROKEN, f"{message}; see `sqp-refresh history {table.table_name}`")


def check_quality(snapshot: Snapshot) -> Criterion:
    """Return whether each metric of every enabled table was within its thresholds when judged.

    A table that is behind its source is none that it should be, whatever was judged of it.
    """
    enabled = [table.table_name for table in snapshot.enabled]
    judged = [
        metric
        for metric in snapshot.metrics
        if metric.table_name in enabled and metric.is_within_threshold is not None
    ]
    failing = [metric for metric in judged if not metric.is_within_threshold]
    problems = snapshot.nothing_enabled
    problems += [
        _metric_problem(name, list(of_name))
        for name, of_name in groupby(failing, key=lambda metric: metric.name)
    ]
    known = {(metric.table_name, metric.name) for metric in failing}
    standing = [
        failed
        for failed in snapshot.failed_metrics
        if failed.table in enabled and (failed.table, failed.metric) not in known
    ]
    problems += [
        _standing_problem(metric, table, [failed.period for failed in periods])
        for (metric, table), periods in groupby(
            standing, key=lambda failed: (failed.metric, failed.table)
        )
    ]
    checked = {metric.table_name for metric in judged}
    unchecked = [table for table in enabled if table not in checked]
    if unchecked:
        message = f"{listing(unchecked)} not checked yet; run `sqp-refresh check`"
        problems.append(Problem(Severity.NOT_YET, message))
    bad = known | {(failed.table, failed.metric) for failed in standing}
    settled = [table.table_name for table in snapshot.enabled if not table.is_running]
    problems += stale_problems(snapshot.staleness, settled, snapshot.now)
    problems += pin_problems(snapshot.staleness.pins, enabled)
    good = sum((metric.table_name, metric.name) not in bad for metric in judged)
    return Criterion("checked", f"{good} of {len(judged)} metrics are as they should be", problems)


def _metric_problem(name: str, failing: Sequence[MetricResult]) -> Problem:
    tables = listing(f"{metric.table_name} ({_value_text(metric)})" for metric in failing)
    severity = Severity.BROKEN if any(map(_is_error, failing)) else Severity.LOOK
    return Problem(severity, f"{name} of {tables}; `sqp-refresh check` says in which weeks")


def _standing_problem(name: str, table: str, periods: Sequence[Period]) -> Problem:
    """Return a problem for periods that failed before, and that no run has judged since."""
    definition = METRICS.get(name)
    is_warning = definition is not None and definition.severity is CheckSeverity.WARNS
    message = (
        f"{name} of {table} failed in {listing(periods)} when that was last judged; "
        f"`sqp-refresh check --table {table}` judges it again"
    )
    return Problem(Severity.LOOK if is_warning else Severity.BROKEN, message)


def _is_error(metric: MetricResult) -> bool:
    """Return whether a failing metric is an error, not a warning."""
    definition = METRICS.get(metric.name)
    if definition is None:
        return False
    # A metric that only warns is an error from a second threshold on.
    limit = definition.fails_above
    is_far_off = limit is not None and metric.value is not None and metric.value > limit
    return definition.severity is not CheckSeverity.WARNS or is_far_off


def _value_text(metric: MetricResult) -> str:
    expected = f", source {_number(metric.expected)}" if metric.expected is not None else ""
    return f"{_number(metric.value)}{expected}" if metric.value is not None else "unknown"


def _number(value: float) -> str:
    """Write a count in full, and of a ratio as many digits as tell something."""
    return f"{value:,.0f}" if value == int(value) else f"{value:,.4g}"


def check_views(snapshot: Snapshot) -> Criterion:
    """Return whether the views that a dashboard reads show something of the last seven days."""
    rows = snapshot.view_rows
    message = ", ".join(f"{rows[view]:,} rows in {view}" for view in _DASHBOARD_VIEWS)
    empty = [view for view in _DASHBOARD_VIEWS if not rows[view]]
    problem = f"{listing(empty)} without a row of the last seven days; run `sqp-refresh refresh`"
    return Criterion("monitored", message, [Problem(Severity.BROKEN, problem)] if empty else [])


def check_hands_off(snapshot: Snapshot) -> Criterion:
    """Return whether the last seven days' nights went well for every enabled table."""
    missed = _missed_nights(snapshot)
    # Nights that left out the same tables are one problem.
    nights_by_tables: dict[tuple[str, ...], list[datetime]] = {}
    for tick, tables in sorted(missed.items()):
        nights_by_tables.setdefault(tuple(tables), []).append(tick)
    problems = snapshot.nothing_enabled + [
        Problem(
            Severity.NOT_YET,
            f"the {'nights' if len(ticks) > 1 else 'night'} of {listing(map(utc_minute, ticks))} "
            f"did not take {listing(tables)} without a person; see "
            f"`sqp-refresh history {tables[0]}`",
        )
        for tables, ticks in nights_by_tables.items()
    ]
    nights = len(snapshot.ticks)
    if not nights:
        problems.append(Problem(Severity.NOT_YET, "no night was due in the last seven days"))
    good = nights - len(missed)
    message = f"{good} of the last {nights} nights went through by themselves"
    return Criterion("hands_off", message, problems)


def _missed_nights(snapshot: Snapshot) -> dict[datetime, list[str]]:
    """Return the tables that each missed night left out."""
    missed: dict[datetime, list[str]] = {}
    for table in snapshot.enabled:
        served = snapshot.served_ticks.get(table.table_name, {})
        good_ticks = {tick for tick, went_through in served.items() if went_through}
        frequency = table.refresh_frequency_hours
        for tick in find_missed_nights(snapshot.ticks, good_ticks, frequency):
            missed.setdefault(tick, []).append(table.table_name)
    return missed
