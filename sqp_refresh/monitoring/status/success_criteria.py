"""The lines of the guide's list that the monitoring views answer, one function each.

A night is a tick of the schedule. It went well for a table where a run that no person launched went
through for it, with or without a warning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from sqp_refresh.checks.metrics import METRICS, CheckSeverity
from sqp_refresh.monitoring.doctor.finding import Diagnosis, named
from sqp_refresh.monitoring.status.missed_nights import missed_nights
from sqp_refresh.monitoring.status.status_model import Line, Problem, Severity
from sqp_refresh.monitoring.views import Freshness, Judged, Ticks

WINDOW = timedelta(days=7)
GRACE = timedelta(hours=1)
"""How long a table may wait for its turn in a night before it counts as overdue."""

_SHOWN = ("refresh_success_rate", "data_quality_overview")


@dataclass(frozen=True, slots=True)
class Seen:
    """What the views show, and when the schedule should have ticked.

    Attributes:
        tables: Every registered table.
        served: What became of each tick that a run served.
        judged: The metrics of each table's last judged run.
        views: How many rows each view shows.
        ticks: The schedule's ticks of the last seven days, in order; not one that is just served.
    """

    tables: Sequence[Freshness]
    served: Ticks
    judged: Sequence[Judged]
    views: Mapping[str, int]
    ticks: Sequence[datetime]

    @property
    def enabled(self) -> list[Freshness]:
        """The tables that may be refreshed."""
        return [table for table in self.tables if table.is_enabled]


def on_schedule(seen: Seen, daemon: Diagnosis) -> Line:
    """Whether the last tick took every table that was due, and the next one will.

    Args:
        seen: What the views show.
        daemon: What Dagster says of its daemon.
    """
    problems = [] if daemon.ok else [Problem(Severity.BROKEN, daemon.said)]
    if not seen.enabled:
        said = "every table is disabled; `sqp-refresh enable --all` to go on"
        problems.append(Problem(Severity.BROKEN, said))
    overdue = [one.table for one in seen.enabled if _is_overdue(one, seen)]
    if overdue:
        said = (
            f"{named(overdue)} overdue since {_utc(seen.ticks[-1])}, and no run was launched; see "
            "`sqp-refresh doctor`, and refresh with `sqp-refresh refresh`"
        )
        problems.append(Problem(Severity.BROKEN, said))
    first = [one for one in seen.enabled if one.table not in {*seen.served, *overdue}]
    if first:
        due = min(one.next_refresh_at for one in first)
        said = f"no night has taken {named(one.table for one in first)} yet; due from {_utc(due)}"
        problems.append(Problem(Severity.NOT_YET, said))
    last = max((tick for ticks in seen.served.values() for tick in ticks), default=None)
    said = f"the last night was that of {_utc(last)}; {daemon.said}" if last else ""
    return Line("on_schedule", said, problems)


def _is_overdue(table: Freshness, seen: Seen) -> bool:
    if not seen.ticks or table.next_refresh_at > seen.ticks[-1]:
        return False
    return max(seen.served.get(table.table, ()), default=None) != seen.ticks[-1]


def succeeding(seen: Seen) -> Line:
    """Whether the last run of every enabled table went through."""
    problems, never = [], []
    for one in seen.enabled:
        if one.last_status is None:
            never.append(one.table)
        elif one.last_status != "success":
            bad = one.last_status == "failed"
            said = f"{one.table} {one.last_status}: {one.last_message}"
            more = f"; see `sqp-refresh history {one.table}`" if bad else ""
            problems.append(Problem(Severity.BROKEN if bad else Severity.LOOK, said + more))
    if never:
        said = f"{named(never)} not refreshed in the last 90 days; run `sqp-refresh refresh`"
        problems.append(Problem(Severity.BROKEN, said))
    good = sum(one.last_status in ("success", "warning") for one in seen.enabled)
    return Line(
        "succeeding", f"the last run of {good} of {len(seen.enabled)} tables went through", problems
    )


def checked(seen: Seen) -> Line:
    """Whether each metric of every enabled table was within its thresholds when last judged."""
    enabled = {one.table for one in seen.enabled}
    judged = [one for one in seen.judged if one.table in enabled and one.ok is not None]
    failing = [one for one in judged if not one.ok]
    problems = [
        _metric(metric, list(of_metric))
        for metric, of_metric in groupby(failing, key=lambda one: one.metric)
    ]
    never = [one.table for one in seen.enabled if one.table not in {one.table for one in judged}]
    if never:
        said = f"{named(never)} not checked yet; run `sqp-refresh check`"
        problems.append(Problem(Severity.NOT_YET, said))
    good = len(judged) - len(failing)
    return Line("checked", f"{good} of {len(judged)} metrics are as they should be", problems)


def _metric(metric: str, failing: Sequence[Judged]) -> Problem:
    worst = named(f"{one.table} ({_value(one)})" for one in failing)
    severity = Severity.BROKEN if any(map(_is_error, failing)) else Severity.LOOK
    return Problem(severity, f"{metric} of {worst}; `sqp-refresh check` says in which weeks")


def _is_error(one: Judged) -> bool:
    known = METRICS.get(one.metric)
    if known is None:
        return False
    above = known.fails_above
    is_far = above is not None and one.value is not None and one.value > above
    return known.severity is not CheckSeverity.WARNS or is_far


def _value(one: Judged) -> str:
    should = f", source {one.expected:,.12g}" if one.expected is not None else ""
    return f"{one.value:,.12g}{should}" if one.value is not None else "unknown"


def monitored(seen: Seen) -> Line:
    """Whether the views that a dashboard reads show something of the last seven days."""
    empty = [view for view in _SHOWN if not seen.views[view]]
    said = ", ".join(f"{seen.views[view]:,} rows in {view}" for view in _SHOWN)
    problem = f"{named(empty)} without a row of the last seven days; run `sqp-refresh refresh`"
    return Line("monitored", said, [Problem(Severity.BROKEN, problem)] if empty else [])


def hands_off(seen: Seen) -> Line:
    """Whether the last seven days' nights went well for every enabled table."""
    missed: dict[datetime, list[str]] = {}
    for one in seen.enabled:
        served = seen.served.get(one.table, {})
        well = {tick for tick, went_well in served.items() if went_well}
        for tick in missed_nights(seen.ticks, well, one.frequency_hours):
            missed.setdefault(tick, []).append(one.table)
    alike: dict[tuple[str, ...], list[datetime]] = {}
    for tick, tables in sorted(missed.items()):
        alike.setdefault(tuple(tables), []).append(tick)
    nights = len(seen.ticks)
    said = f"{nights - len(missed)} of the last {nights} nights went through by themselves"
    problems = [
        Problem(
            Severity.NOT_YET,
            f"the {'nights' if len(ticks) > 1 else 'night'} of {named(map(_utc, ticks))} did not "
            f"take {named(tables)} without a person; see `sqp-refresh history {tables[0]}`",
        )
        for tables, ticks in alike.items()
    ]
    if not nights:
        problems.append(Problem(Severity.NOT_YET, "no night was due in the last seven days"))
    return Line("hands_off", said, problems)


def _utc(instant: datetime) -> str:
    return f"{instant:%Y-%m-%d %H:%M} UTC"
