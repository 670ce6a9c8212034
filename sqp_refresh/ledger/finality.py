"""Keep when each week of the source came and changed, and ask whether it is final.

A refresh of `search_query_performance` enters each week that its source has changed, in the
transaction that publishes it, and at its end that it has looked. What follows from that is said by
one function in Postgres, `sqp.week_finality_at`; the view `sqp.week_finality` is what it says now.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum

from psycopg.rows import class_row

from sqp_refresh.ledger.ledger import Change
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, Table
from sqp_refresh.model.versions import ROW_COUNT
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import Settings

# Of a week with one marketplace, which two look-ups in the index of the key tell, the publish knows
# everything. Of others, rows that this transaction wrote have its time; a marketplace may also have
# lost rows, or all of them.
_RECORD = in_schema("""
WITH ends AS MATERIALIZED (
    SELECT (
        SELECT marketplace FROM sqp.search_query_performance
        WHERE start_date = %(week)s AND end_date = %(last_day)s ORDER BY marketplace LIMIT 1
    ) AS first, (
        SELECT marketplace FROM sqp.search_query_performance
        WHERE start_date = %(week)s AND end_date = %(last_day)s ORDER BY marketplace DESC LIMIT 1
    ) AS last
)
INSERT INTO sqp.refresh_week_changes
    (marketplace, week, changed_at, rows, asins, found_as, audit_log_id)
SELECT marketplace, %(week)s, now(), coalesce(held.rows, 0), coalesce(held.asins, 0),
    CASE WHEN known.rows IS NOT NULL THEN (
        SELECT state FROM sqp.week_finality AS found
        WHERE found.marketplace = known.marketplace AND found.week = %(week)s
    ) END,
    %(audit_log_id)s
FROM (
    SELECT first AS marketplace, %(rows)s::bigint AS rows, %(asins)s::bigint AS asins,
        %(is_changed)s AS is_changed
    FROM ends WHERE first = last
    UNION ALL
    SELECT marketplace, sum(rows)::bigint, count(*), max(changed_at) >= now()
    FROM (
        SELECT marketplace, count(*) AS rows, max(updated_at) AS changed_at
        FROM sqp.search_query_performance
        WHERE start_date = %(week)s AND (SELECT first <> last FROM ends)
        GROUP BY marketplace, asin
    ) AS of_asin
    GROUP BY marketplace
) AS held
FULL JOIN (
    SELECT DISTINCT ON (marketplace) marketplace, rows, asins
    FROM sqp.refresh_week_changes WHERE week = %(week)s
    ORDER BY marketplace, changed_at DESC
) AS known USING (marketplace)
WHERE known.rows IS NULL OR held.is_changed
    OR (coalesce(held.rows, 0), coalesce(held.asins, 0)) <> (known.rows, known.asins)
""")
_NOTE_LOOK = in_schema("""
WITH before AS (SELECT looked_at FROM sqp.refresh_finality)
INSERT INTO sqp.refresh_finality (
    arriving_nights, asins_ratio, arrival_days, quiet_days, quantile, own_weeks, looked_at
)
VALUES (
    %(arriving_nights)s, %(asins_ratio)s, %(arrival_days)s, %(quiet_days)s, %(quantile)s,
    %(own_weeks)s, now()
)
ON CONFLICT (id) DO UPDATE
SET arriving_nights = excluded.arriving_nights, asins_ratio = excluded.asins_ratio,
    arrival_days = excluded.arrival_days, quiet_days = excluded.quiet_days,
    quantile = excluded.quantile, own_weeks = excluded.own_weeks, looked_at = excluded.looked_at
RETURNING (SELECT looked_at FROM before)
""")
_WEEKS = in_schema("""
SELECT marketplace, week, rows, asins, asins_expected, first_seen_at, last_changed_at, restatements,
    state
FROM sqp.week_finality ORDER BY marketplace, week
""")

_ASINS = "distinct_asin_count"  # the metric that counts them


class WeekState(StrEnum):
    """How far a week of a marketplace is, as in `sqp.week_finality`."""

    ARRIVING = "arriving"
    COMPLETE = "complete"
    FINAL = "final"
    RESTATED = "restated"


@dataclass(frozen=True, slots=True)
class WeekFinality:
    """A week of a marketplace, by the columns of `sqp.week_finality`; `state` is a `WeekState`."""

    marketplace: str
    week: date
    rows: int
    asins: int
    asins_expected: int | None
    first_seen_at: datetime
    last_changed_at: datetime
    restatements: int
    state: str


@dataclass(frozen=True, slots=True)
class ArrivingWeeks:
    """Which weeks of a table are not complete yet, so that they say nothing of its data.

    Attributes:
        marketplaces: By the Sunday of each week that came, the marketplaces of which more of it is
            expected.
        complete: The Sundays of weeks that at least one marketplace has complete.
        is_known: Whether anything is known of the weeks: of a table of another source, or where
            none ever came, nothing is, and every week counts.
    """

    marketplaces: Mapping[date, frozenset[str]] = field(default_factory=dict)
    complete: frozenset[date] = frozenset()
    is_known: bool = False

    def has(self, week: Period) -> bool:
        """Return whether no marketplace has this week complete."""
        return self.is_known and week.start not in self.complete

    def of(self, week: Period) -> frozenset[str]:
        """Return the marketplaces that do not have this week complete."""
        return self.marketplaces.get(week.start, frozenset())


ALL_COMPLETE = ArrivingWeeks()
"""What is known of weeks where every week counts."""


def record_change(
    session: Session, table: Table, week: Period, change: Change, *, audit_log_id: int
) -> None:
    """Enter a week for each marketplace of which it is new, or the transaction has changed a row.

    Args:
        session: The session whose transaction publishes the week, because its source has changed.
        table: The table; nothing is entered for any but `search_query_performance`.
        week: The week.
        change: What the publish has done to its rows.
        audit_log_id: The run that publishes it.
    """
    if table.name != SEARCH_QUERY_PERFORMANCE.name:
        return
    params = {
        "week": week.start,
        "last_day": week.end,
        "rows": change.totals[ROW_COUNT],
        "asins": change.totals[_ASINS],
        "is_changed": change.is_changed,
        "audit_log_id": audit_log_id,
    }
    session.execute(_RECORD, params)


def note_look(session: Session) -> datetime | None:
    """Enter that the newest weeks were compared with the source now, and the thresholds of today.

    Returns:
        When they were compared before; None where they never were.
    """
    settings = Settings.read()
    params = {
        "arriving_nights": settings.FINALITY_ARRIVING_NIGHTS,
        "asins_ratio": settings.FINALITY_ASINS_RATIO,
        "arrival_days": settings.FINALITY_ARRIVAL_DAYS,
        "quiet_days": settings.FINALITY_QUIET_DAYS,
        "quantile": settings.FINALITY_QUANTILE,
        "own_weeks": settings.FINALITY_OWN_WEEKS,
    }
    (before,) = session.fetch_one(_NOTE_LOOK, params)
    return before


def read_weeks(session: Session) -> list[WeekFinality]:
    """Read the view `sqp.week_finality`, by marketplace and in order of time."""
    return session.fetch_all(_WEEKS, row_factory=class_row(WeekFinality))


def read_arriving(session: Session, table: Table) -> ArrivingWeeks:
    """Read which weeks of a table are not complete yet.

    Of a table of another source, and of one of longer periods, that is not known.
    """
    is_of_report = table.source is None or table.source.is_vendor_report
    if not is_of_report or table.grain.published is not Grain.WEEK:
        return ALL_COMPLETE
    weeks = read_weeks(session)
    marketplaces: dict[date, set[str]] = defaultdict(set)
    for week in weeks:
        if week.state == WeekState.ARRIVING:
            marketplaces[week.week].add(week.marketplace)
    return ArrivingWeeks(
        {week: frozenset(names) for week, names in marketplaces.items()},
        frozenset(week.week for week in weeks if week.state != WeekState.ARRIVING),
        is_known=bool(weeks),
    )
