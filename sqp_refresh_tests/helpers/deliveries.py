"""Refresh from rows that a test hands over as Arrow, without BigQuery."""

import itertools
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pyarrow as pa

from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, ReadStats, SourceBatches
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, Table
from sqp_refresh.model.versions import SourceVersion
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh_tests.helpers.rows import Row, source_table

_numbers = itertools.count(1)

MANY = 10**7
"""More rows than any delivery has (count)."""


@dataclass(slots=True)
class Delivery:
    """A source of weeks as BigQuery would send them; each counts as changed since the last one.

    Attributes:
        weeks: The batches of each week.
        table: Where the rows go.
        counted: What else is counted of a week beforehand, by the fields of its version.
    """

    weeks: Mapping[Period, Sequence[pa.RecordBatch]]
    table: Table = SEARCH_QUERY_PERFORMANCE
    counted: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int | None = None
    stats: ReadStats = field(default_factory=lambda: ReadStats(method="handed over"))

    def periods(self, session: Session) -> Sequence[Period]:
        return sorted(self.weeks)

    def versions(
        self, session: Session, periods: Sequence[Period]
    ) -> Mapping[Period, SourceVersion]:
        return {week: self._version() for week in periods}

    def _version(self) -> SourceVersion:
        version = SourceVersion(MANY, 0, 0, {}, f"delivery {next(_numbers)}", "US")
        return replace(version, **self.counted)

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        for week in periods:
            batches = self.weeks[week]
            schema = batches[0].schema if batches else source_table([]).schema
            yield PeriodRows(week, SourceBatches(schema, batches, {"Marketplace": "US"}))


def deliver(url: str, rows: Sequence[Row], *weeks: Period, **shape: Any) -> RefreshResult:
    """Refresh search_query_performance from rows as `rows.row` makes them.

    Args:
        url: The database.
        rows: All of them.
        weeks: The weeks that are read, also those without a row; by default those of the rows.
        shape: As for `rows.source_table`.
    """
    rows_of_week = {
        week: [row for row in rows if Period.week_of(row["Date"]) == week] for week in weeks
    }
    for row in [] if weeks else rows:
        rows_of_week.setdefault(Period.week_of(row["Date"]), []).append(row)
    batches = {
        week: source_table(of_week, **shape).to_batches() for week, of_week in rows_of_week.items()
    }
    return refresh(url, Delivery(batches), RefreshRequest("delivery"))


def tolerate(url: str, most: float, metric: str = "quarantined_ratio") -> None:
    """Set the maximum of a quality metric of every table; of quarantined rows by default."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE sqp.refresh_config SET custom_sync_params = jsonb_build_object('quality',"
            " jsonb_build_object(%s::text, jsonb_build_object('max', %s::float8)))",
            [metric, most],
        )
