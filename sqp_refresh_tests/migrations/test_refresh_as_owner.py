"""A refresh on every server, as a user who owns the database and has no other right."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import date

import pyarrow as pa

from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, ReadStats, State
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, TABLES, TEXT, Table
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.run import RefreshRequest, refresh
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh_tests.migrations.conftest import Database

WEEK = Period.week_of(date(2025, 8, 10))


@dataclass
class OneWeek:
    """A feed of one week: as many rows as there are queries, every count of which is 7."""

    queries: list[str]
    stats: ReadStats = field(default_factory=lambda: ReadStats(method="a test"))

    batch_size: int | None = None
    table: Table = SEARCH_QUERY_PERFORMANCE

    def periods(self, session: Session) -> Sequence[Period]:
        return [WEEK]

    def states(self, session: Session, periods: Sequence[Period]) -> dict[Period, State]:
        return {WEEK: State({"queries": self.queries}, len(self.queries))}

    def parts(self, periods: Sequence[Period]) -> Generator[PeriodRows]:
        columns: dict[str, pa.Array] = {
            column.name: pa.array(["x" if column.type == TEXT else 7] * len(self.queries))
            for column in SEARCH_QUERY_PERFORMANCE.columns
            if column.type != "date"
        }
        columns["search_query"] = pa.array(self.queries)
        batch = pa.RecordBatch.from_pydict(columns)
        yield PeriodRows(WEEK, pa.RecordBatchReader.from_batches(batch.schema, [batch]))


def test_an_owner_may_refresh(owned: Database):
    migrate.upgrade(owned.url)

    first = refresh(owned.url, OneWeek(["a", "b", "c"]), RefreshRequest("1"))
    second = refresh(owned.url, OneWeek(["b", "c", "d"]), RefreshRequest("2"))
    summary = TABLES["quarterly_summary"]
    rolled = refresh(owned.url, RollupSource(summary), RefreshRequest("2"))

    assert first.counts.inserted == 3
    counts = second.counts
    assert (counts.inserted, counts.unchanged, counts.deleted) == (1, 2, 1)
    assert rolled.counts.inserted == 3
    assert owned.rows(
        "SELECT table_name, status, rows_processed, rows_inserted, rows_updated, rows_deleted"
        " FROM sqp.refresh_audit_log ORDER BY id"
    ) == [
        ("search_query_performance", "success", 3, 3, 0, 0),
        ("search_query_performance", "success", 3, 1, 0, 1),
        ("quarterly_summary", "success", 3, 3, 0, 0),
    ]
    assert owned.rows("SELECT DISTINCT status FROM sqp.refresh_checkpoints") == [("completed",)]
    assert owned.rows(
        "SELECT last_refresh_at IS NOT NULL AND next_refresh_at > now() FROM sqp.refresh_config"
        " WHERE table_name = 'search_query_performance'"
    ) == [(True,)]
