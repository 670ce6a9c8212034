"""Make a small part of the demo's year, with what is rare in it, and load it into tables."""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.demo.year import SUNDAYS, week_of_rows
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.oracle import Rows
from sqp_refresh_tests.helpers.rows import Row, row
from sqp_refresh_tests.helpers.view_oracle import Week

NEWEST = SUNDAYS[-1]
TABLES = (
    "asin_performance_data",
    "search_performance_summary",
    "weekly_summary",
    "monthly_summary",
    "quarterly_summary",
    "yearly_summary",
)
"""What the views read, and what the examples of docs/data.md do."""

_WEEKS = (*SUNDAYS[:2], *SUNDAYS[-13:])
_ASINS = 3


@dataclass(frozen=True)
class Loaded:
    """A database with data, and what its weeks are made of.

    Attributes:
        final: The newest final week of each marketplace.
    """

    url: str
    weeks: list[Week]
    final: dict[str, date]


def source_rows() -> list[Row]:
    """Return rows of a few ASINs, also without a brand, elsewhere, and a year before."""
    weeks = [week_of_rows(week) for week in _WEEKS]
    always = set.intersection(*(set(week["Child ASIN"].to_pylist()) for week in weeks))
    # The first ones are of one kind, so that they share queries.
    in_order = dict.fromkeys(weeks[0]["Child ASIN"].to_pylist())
    chosen = [asin for asin in in_order if asin in always][:_ASINS]
    of_chosen = pc.field("Child ASIN").isin(chosen)
    rows = pa.concat_tables(week.filter(of_chosen) for week in weeks).to_pylist()
    for each in rows:
        if each["Child ASIN"] == chosen[1]:
            each["Client Name"] = None
    year_ago = [_moved(each, 364) for each in rows if _day(each) >= SUNDAYS[-6]]
    elsewhere = [
        each | {"Marketplace": "DE"}
        for each in rows
        if each["Child ASIN"] == chosen[0] and _day(each) >= SUNDAYS[-5]
    ]
    return [*rows, *year_ago, *elsewhere, *_mistakes(), *_classes()]


def _day(values: Row) -> date:
    return values["Date"].date()


def _moved(values: Row, days: int) -> Row:
    """Return a row as it was so many days before, when less was sold."""
    halves = {
        f"ASIN {stage} Count": values[f"ASIN {stage} Count"] // 2
        for stage in ("Impression", "Click", "Cart Add", "Purchase")
    }
    return values | halves | {"Date": values["Date"] - timedelta(days=days)}


def _mistakes() -> list[Row]:
    """Return two ASINs of one brand on one query, of which the small one has the high rates."""
    return [
        _in_ca(
            day=day,
            asin=asin,
            query="mistaken",
            brand="Mistaken",
            score=score,
            volume=1000 + week,
            impressions=(40_000 + week, impressions),
            clicks=(1000 + week, clicks),
            cart_adds=(200, clicks // 2),
            purchases=(100 + week, purchases),
        )
        for week, day in enumerate((NEWEST - timedelta(7), NEWEST, date(2025, 6, 29)))
        for asin, score, impressions, clicks, purchases in (
            ("B0LARGE000", 3, 10_000, 100, 1),
            ("B0SMALL000", 8, 100, 20, 10),
        )
    ]


def _classes() -> list[Row]:
    """Return one query for each class of a trend, by its clicks in the newest twelve weeks."""
    clicks: dict[str, list[int | None]] = {
        "growth": [10, 12, 15, 16, 20, 22, 25, 30, 31, 36, 40, 42],
        "decline": [42, 40, 36, 31, 30, 25, 22, 20, 16, 15, 12, 10],
        "volatile": [5, 60, 8, 70, 4, 66, 9, 58, 6, 71, 3, 62],
        "stable": [30, 31, 29, 30, 32, 30, 28, 30, 31, 30, 29, 30],
        "flat": [7] * 12,
        "new": [None] * 9 + [5, 6, 7],
        "vanished": [5, 6, 7] + [None] * 9,
        "too few": [None] * 7 + [5, None, None, 5, 6],
        # Counts as small as these scatter by themselves.
        "by chance": [1, 0, 2, 1, 0, 0, 1, 2, 1, 0, 1, 1],
    }
    return [
        _in_ca(
            day=NEWEST - timedelta(weeks=11 - place),
            asin="B0CLASSES0",
            query=query,
            clicks=(900, count),
            cart_adds=(300, count // 2),
            purchases=(100, count // 4),
        )
        for query, counts in clicks.items()
        for place, count in enumerate(counts)
        if count is not None
    ]


def _in_ca(**values: Any) -> Row:
    return row(marketplace="CA", **values)


def load(url: str, tables: dict[str, Rows]) -> None:
    """Write rows of `oracle.expected_tables` into a database."""
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for table in TABLES:
            columns = (*oracle.KEYS[table], *oracle.COLUMNS[table])
            copy = f"COPY sqp.{table} ({', '.join(columns)}) FROM STDIN"
            with cursor.copy(copy.encode()) as written:
                for key, values in tables[table].items():
                    written.write_row([*key, *(values[name] for name in oracle.COLUMNS[table])])
