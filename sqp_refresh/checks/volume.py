"""Compare a week's rows with those of the weeks before: all together, and of each marketplace."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import chain
from statistics import median

from psycopg import sql

from sqp_refresh.checks.evaluate import Measurement
from sqp_refresh.ledger.finality import ALL_COMPLETE, ArrivingWeeks
from sqp_refresh.model.periods import DAYS_IN_WEEK, Grain, Period
from sqp_refresh.model.tables import TEXT, Table
from sqp_refresh.postgres.period_sql import between_days, target_name
from sqp_refresh.postgres.session import Session, identifier

VOLUME_RATIO = "volume_ratio"
MARKETPLACE = "marketplace"

WEEKS_BEFORE = 8
"""The weeks whose median a week's volume is compared with."""

_FEWEST_WEEKS = 4  # a median of fewer weeks says nothing
# A marketplace with fewer rows comes and goes; one with not many more may well halve or double.
_FEWEST_ROWS, _FEW_ROWS = 3, 24

# Two look-ups in the index of the key for each day, where to count all rows takes them all.
_MARKETPLACES = sql.SQL("""
SELECT count(DISTINCT marketplace) FROM unnest(%(days)s::date[]) AS __sqp_requested (day)
CROSS JOIN LATERAL (
    (SELECT marketplace FROM {table} WHERE {of_day} ORDER BY marketplace LIMIT 1)
    UNION ALL
    (SELECT marketplace FROM {table} WHERE {of_day} ORDER BY marketplace DESC LIMIT 1)
) AS first_and_last
""")
_ROWS = sql.SQL("""
SELECT {day}, marketplace, count(*) FROM {table} WHERE {within} GROUP BY 1, 2 ORDER BY 2
""")


def measure_volume(
    session: Session,
    table: Table,
    counts: Mapping[Period, int],
    periods: Collection[Period],
    arriving: ArrivingWeeks = ALL_COMPLETE,
) -> Iterator[Measurement]:
    """Measure the rows of weeks as a multiple of those that the weeks before usually have.

    Where a week has several marketplaces, so is each of them that has been there for long enough. A
    week that has not come, or not come whole, is not judged, and no other is compared with it.

    Args:
        session: A session with the target.
        table: The table.
        counts: The rows of each of its periods, in order of time.
        periods: The periods that are measured.
        arriving: Which weeks are not complete.
    """
    complete = [week for week in counts if not arriving.has(week)]
    before = {
        week: [earlier for earlier in complete if earlier < week][-WEEKS_BEFORE:]
        for week in periods
    }
    newest = max(counts, default=None)
    by_marketplace = _rows_by_marketplace(session, table, {*periods, *chain(*before.values())})
    for week in sorted(periods):
        usual = [counts[earlier] for earlier in before[week]]
        has_come = newest is not None and week <= newest and not arriving.has(week)
        is_whole = has_come and not arriving.of(week)
        ratio = _ratio(counts.get(week, 0), usual) if is_whole else None
        yield Measurement(VOLUME_RATIO, str(week), ratio)
        for name, rows in by_marketplace.items():
            if not has_come or name in arriving.of(week):
                continue
            usual = [rows.get(earlier, 0) for earlier in before[week]]
            ratio = _ratio_of_marketplace(rows.get(week, 0), usual)
            if ratio is not None:
                yield Measurement(VOLUME_RATIO, str(week), ratio, marketplace=name)


def _ratio(rows: int, before: Sequence[int]) -> float | None:
    """Compare the rows of a week with the median of the weeks before it."""
    usual = median(before) if len(before) >= _FEWEST_WEEKS else 0
    return rows / usual if usual else None


def _ratio_of_marketplace(rows: int, before: Sequence[int]) -> float | None:
    """Compare the rows of a marketplace with those before; None where these are too few to tell."""
    first = next((place for place, there in enumerate(before) if there), len(before))
    since_first = before[first:]
    ratio = _ratio(rows, since_first)
    if ratio is None or median(since_first) < _FEWEST_ROWS:
        return None
    if median(since_first) < _FEW_ROWS:
        # What it has had in any week before is as usual.
        nearest = min(max(rows, min(since_first)), max(since_first))
        return rows / nearest if nearest else 1.0
    return ratio


def _rows_by_marketplace(
    session: Session, table: Table, weeks: Collection[Period]
) -> dict[str, dict[Period, int]]:
    """Count the rows of each marketplace in these weeks; none of a table with only one."""
    if not weeks or not _has_several(session, table, weeks):
        return {}
    assert table.scope, "it has weeks"
    query = _ROWS.format(
        day=identifier(table.scope),
        table=target_name(table),
        within=between_days(table, sql.Placeholder("first"), sql.Placeholder("last")),
    )
    days = {"first": min(weeks).start, "last": max(weeks).end}
    rows: dict[str, dict[Period, int]] = defaultdict(lambda: defaultdict(int))
    for day, marketplace, count in session.fetch_all(query, days):
        rows[marketplace][Period.containing(day, table.grain)] += count
    return rows


def _has_several(session: Session, table: Table, weeks: Iterable[Period]) -> bool:
    """Return whether these weeks are of several marketplaces."""
    # A registered table may have a column of that name which is no text.
    has_marketplaces = any(
        column.name == MARKETPLACE and column.type.startswith((TEXT, "character"))
        for column in table.columns
    )
    if table.scope is None or not has_marketplaces:
        return False
    days = DAYS_IN_WEEK if table.grain is Grain.DAY else 1
    of_day = [sql.SQL("{} = __sqp_requested.day").format(identifier(table.scope))]
    # The last day of the week is before the marketplace in the index.
    of_day += [
        sql.SQL("{} = __sqp_requested.day + 6").format(identifier(column.name))
        for column in table.key
        if column.name not in {*table.group_key, table.scope}
    ]
    query = _MARKETPLACES.format(table=target_name(table), of_day=sql.SQL(" AND ").join(of_day))
    requested = [week.start + timedelta(days=day) for week in weeks for day in range(days)]
    (marketplaces,) = session.fetch_one(query, {"days": requested})
    return marketplaces > 1
