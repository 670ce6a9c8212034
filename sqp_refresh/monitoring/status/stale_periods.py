"""Say which periods are not as their source is, and which tables nobody compares any more."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

from sqp_refresh.ledger.guard import NIGHTS, HeldPeriod, list_held
from sqp_refresh.ledger.pins import Pin, list_pins
from sqp_refresh.ledger.staleness import StalePeriod, list_known_stale, periods_behind_parents
from sqp_refresh.model.tables import Table
from sqp_refresh.model.text import listing, utc_minute
from sqp_refresh.monitoring.status.status_model import Problem, Severity
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry import refresh_config

LATE_AFTER = timedelta(days=1)
"""How long a period may be behind its source before that is more than worth a look."""

UNCOMPARED_AFTER = timedelta(days=2)
"""How long a table may go without a comparison, which is made twice a day."""


@dataclass(frozen=True, slots=True)
class Staleness:
    """What is known of the periods that are not as their source is.

    Attributes:
        periods: The periods that are behind their source, by table and in order.
        held: Those of them that are held back, because too much of them changed.
        pins: The periods that no refresh copies.
        compared_at: When each table was last compared, or could first have been; None where it has
            nothing to compare.
    """

    periods: Sequence[StalePeriod] = ()
    compared_at: Mapping[str, datetime | None] = field(default_factory=dict)
    held: Sequence[HeldPeriod] = ()
    pins: Sequence[Pin] = ()


def read_staleness(session: Session, tables: Iterable[Table]) -> Staleness:
    """Read which periods are behind their source: as recorded or, of a derived table, as it is.

    Args:
        session: A session with the target.
        tables: The tables that there are.
    """
    known, held = list_known_stale(session), list_held(session)
    noted = {(stale.table, stale.period) for stale in known}
    new = [
        StalePeriod(table.name, period)
        for table in tables
        if table.source is None
        for period in periods_behind_parents(session, table)
        if (table.name, period) not in noted
    ]
    periods = sorted([*known, *new], key=lambda stale: (stale.table, stale.period))
    compared_at = refresh_config.read_compared_at(session)
    return Staleness(periods, compared_at, held, list_pins(session))


def stale_problems(staleness: Staleness, tables: Iterable[str], now: datetime) -> list[Problem]:
    """Return a problem for each table with periods that are behind their source.

    Args:
        staleness: What is known.
        tables: The tables that may be refreshed, and are not being refreshed just now.
        now: The time.
    """
    names = set(tables)
    held = {(held.table, held.period) for held in staleness.held}
    behind = [stale for stale in staleness.periods if (stale.table, stale.period) not in held]
    problems = [
        _stale_problem(table, list(periods), now)
        for table, periods in groupby(behind, key=lambda stale: stale.table)
        if table in names
    ]
    problems += [
        _held_problem(table, list(periods))
        for table, periods in groupby(staleness.held, key=lambda held: held.table)
        if table in names
    ]
    return problems + _uncompared_problems(staleness, names, now)


def pin_problems(pins: Iterable[Pin], tables: Collection[str]) -> list[Problem]:
    """Return something to look at for each pinned period of these tables."""
    return [
        Problem(
            Severity.LOOK,
            f"{pin.table} is pinned in {pin.period_start}: {pin}; no refresh copies it before "
            f"`sqp-refresh unpin {pin.table} --week {pin.period_start}`",
        )
        for pin in pins
        if pin.table in tables
    ]


def _held_problem(table: str, held: Sequence[HeldPeriod]) -> Problem:
    weeks = listing(f"{of.period} ({of.nights} of {NIGHTS} nights)" for of in held)
    return Problem(
        Severity.LOOK,
        f"{table} is held back in {weeks}, because so much of it changed in its source; "
        f"`sqp-refresh history {table}` has the counts, and `sqp-refresh refresh --table {table} "
        f"--from {held[0].period.start} --to {held[-1].period.start} --accept` publishes it",
    )


def _stale_problem(table: str, stale: Sequence[StalePeriod], now: datetime) -> Problem:
    since = min((period.since for period in stale if period.since), default=None)
    first, last = stale[0].period.start, stale[-1].period.start
    seen = f", seen first at {utc_minute(since)}" if since else ""
    message = (
        f"{table} is behind its source in {listing(str(period.period) for period in stale)}{seen}; "
        f"`sqp-refresh refresh --table {table} --from {first} --to {last}` loads what has changed"
    )
    is_late = since is not None and now - since > LATE_AFTER
    return Problem(Severity.BROKEN if is_late else Severity.LOOK, message)


def _uncompared_problems(
    staleness: Staleness, tables: Iterable[str], now: datetime
) -> list[Problem]:
    compared_at = {table: staleness.compared_at.get(table) for table in tables}
    late = {table: at for table, at in compared_at.items() if at and now - at > UNCOMPARED_AFTER}
    if not late:
        return []
    message = (
        f"the weeks of {listing(sorted(late))} behind the look-back were not compared with the "
        f"source since {utc_minute(min(late.values()))}; see the sensor restated_weeks in Dagster"
    )
    return [Problem(Severity.LOOK, message)]
