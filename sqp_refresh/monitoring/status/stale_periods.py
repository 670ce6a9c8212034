"""Say which periods are behind their source, and which tables nobody compares any more."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby

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
    """What is known of the weeks that no night looks at any more.

    Attributes:
        periods: The periods that are behind their source, by table and in order.
        compared_at: When each table was last compared, or could first have been; None where it has
            nothing to compare.
    """

    periods: Sequence[StalePeriod] = ()
    compared_at: Mapping[str, datetime | None] = field(default_factory=dict)


def read_staleness(session: Session, tables: Iterable[Table]) -> Staleness:
    """Read which periods are behind their source: as recorded or, of a derived table, as it is.

    Args:
        session: A session with the target.
        tables: The tables that there are.
    """
    known = list_known_stale(session)
    noted = {(stale.table, stale.period) for stale in known}
    new = [
        StalePeriod(table.name, period)
        for table in tables
        if table.source is None
        for period in periods_behind_parents(session, table)
        if (table.name, period) not in noted
    ]
    periods = sorted([*known, *new], key=lambda stale: (stale.table, stale.period))
    return Staleness(periods, refresh_config.read_compared_at(session))


def stale_problems(staleness: Staleness, tables: Iterable[str], now: datetime) -> list[Problem]:
    """Return a problem for each table with periods that are behind their source.

    Args:
        staleness: What is known.
        tables: The tables that may be refreshed, and are not being refreshed just now.
        now: The time.
    """
    names = set(tables)
    return [
        _stale_problem(table, list(periods), now)
        for table, periods in groupby(staleness.periods, key=lambda stale: stale.table)
        if table in names
    ] + _uncompared_problems(staleness, names, now)


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
