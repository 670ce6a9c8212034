"""Refresh search_query_performance from one week of rows, without BigQuery."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, ReadStats
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, TEXT, Table
from sqp_refresh.model.versions import SourceVersion
from sqp_refresh.postgres.session import Session

WEEK = Period.week_of(date(2025, 8, 10))


@dataclass
class OneWeek:
    """A source of one week: as many rows as there are queries, every count of which is 7."""

    queries: list[str]
    stats: ReadStats = field(default_factory=lambda: ReadStats(method="a test"))

    batch_size: int | None = None
    table: Table = SEARCH_QUERY_PERFORMANCE

    def periods(self, session: Session) -> Sequence[Period]:
        return [WEEK]

    def versions(self, session: Session, periods: Sequence[Period]) -> dict[Period, SourceVersion]:
        digest = " ".join(self.queries)
        return {WEEK: SourceVersion(len(self.queries), 0, 0, {}, digest, "US")}

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        columns: dict[str, pa.Array] = {
            column.name: pa.array(["x" if column.type == TEXT else 7] * len(self.queries))
            for column in SEARCH_QUERY_PERFORMANCE.columns
            if column.type != "date"
        }
        columns["search_query"] = pa.array(self.queries)
        batch = pa.RecordBatch.from_pydict(columns)
        for week in periods:
            yield PeriodRows(week, pa.RecordBatchReader.from_batches(batch.schema, [batch]))
