"""Copy what tables hold, and compare it with what the history says that they held."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import psycopg
from psycopg import sql

from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import TABLES
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh_tests.helpers.deliveries import Delivery
from sqp_refresh_tests.helpers.rows import Row, row, source_table

COPIED = ("search_query_performance", "weekly_summary", "monthly_summary")
"""Tables that are written by all strategies."""

Keys = Mapping[str, tuple[int, int]]
"""Clicks and purchases, by query."""

Copy = dict[tuple[str, date], list[dict[str, Any]]]
"""The rows of each period of each table, in order."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What the tables held at an instant, and the latest run of search_query_performance."""

    at: datetime
    held: Copy
    run: int


def week_of(sunday: date, keys: Keys) -> list[Row]:
    """Return rows of one ASIN."""
    return [
        row(day=sunday, query=query, clicks=(542, clicks), purchases=(48, bought))
        for query, (clicks, bought) in keys.items()
    ]


def publish(url: str, weeks: Mapping[date, Keys], *, keeps_history: bool = True) -> Moment:
    """Deliver weeks, refresh the tables derived from them, and copy what they all hold then."""
    request = RefreshRequest("published", keeps_history=keeps_history)
    batches = {
        Period.week_of(sunday): source_table(week_of(sunday, keys)).to_batches()
        for sunday, keys in weeks.items()
    }
    delivered = refresh(url, Delivery(batches), request)
    for table in COPIED[1:]:
        refresh(url, RollupSource(TABLES[table], list(batches)), request)
    return Moment(clock(url), copy_of(url), delivered.audit_log_id)


def clock(url: str) -> datetime:
    """Return the time by the clock of Postgres."""
    with psycopg.connect(url) as connection:
        ((now,),) = connection.execute("SELECT clock_timestamp()").fetchall()
    return now.astimezone(UTC)


def copy_of(url: str, *, without: tuple[str, ...] = ()) -> Copy:
    """Copy the rows of every period that the ledger has, but for these columns."""
    held: Copy = {}
    with psycopg.connect(url) as connection:
        for table, first, last, scope in connection.execute(
            "SELECT table_name, period_start, period_end, scope_column FROM sqp.refresh_periods"
        ).fetchall():
            query = sql.SQL(
                "SELECT to_jsonb(line) - %s::text[] FROM {} AS line WHERE {} BETWEEN %s AND %s"
            ).format(sql.Identifier("sqp", table), sql.Identifier(scope))
            lines = connection.execute(query, (list(without), first, last)).fetchall()
            held[table, first] = _ordered(lines)
    return held


def as_of(url: str, at: datetime, *periods: tuple[str, date]) -> Copy:
    """Return what the history says that periods held."""
    with psycopg.connect(url) as connection:
        return {
            (table, first): _ordered(
                connection.execute("SELECT sqp.as_of(%s, %s, %s)", (table, first, at)).fetchall()
            )
            for table, first in periods
        }


def _ordered(lines: list[tuple[dict[str, Any]]]) -> list[dict[str, Any]]:
    return sorted((line for (line,) in lines), key=lambda line: sorted(map(str, line.items())))
