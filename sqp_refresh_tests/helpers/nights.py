"""Refresh all tables without Dagster, and check what the tables hold afterwards."""

from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

import psycopg

from sqp_refresh.extract.client import rest_client
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.load.result import Counts
from sqp_refresh.model.periods import weeks_between
from sqp_refresh.model.tables import TABLES
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.oracle import Rows
from sqp_refresh_tests.helpers.rows import Row, SourceTable
from sqp_refresh_tests.helpers.weeks import FIRST, LAST


def refresh_all(
    settings: Settings, first: date = FIRST, last: date = LAST, *, force: bool = False
) -> dict[str, RefreshResult]:
    """Refresh every table over a range of weeks, parents first."""
    weeks = list(weeks_between(first, last))
    # As the tables of one run do, all read the source as of one instant, and ask for it once.
    as_of, queries_of_run = datetime.now(UTC), RunQueries()
    results = {}
    for table in TABLES.values():
        source = source_for(settings, table, weeks, as_of, queries=queries_of_run)
        request = RefreshRequest("night", force=force, writers=settings.REFRESH_WRITERS)
        results[table.name] = refresh(settings.database_url, source, request)
    return results


def read_tables(settings: Settings) -> dict[str, Rows]:
    """Read all eight tables."""
    with psycopg.connect(settings.database_url) as connection:
        return {table: oracle.read_table(connection, table) for table in oracle.KEYS}


@dataclass
class Nights:
    """Nights in a row: each fills the source, refreshes, and is compared with the oracle."""

    settings: Settings
    source: SourceTable
    expected: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in oracle.KEYS})

    def after(
        self, rows: list[Row], *, marketplace: str = "US", force: bool = False, **shape
    ) -> dict[str, Counts]:
        """Refresh from exactly these rows; every value and every count must be the oracle's."""
        self.source.replace(rows, **shape)
        after = oracle.expected_tables(rows, default_marketplace=marketplace)
        return self.refreshed(oracle.carry_titles(self.expected, after), len(rows), force=force)

    def refreshed(
        self, after: dict[str, Rows], rows_read: int, *, force: bool = False
    ) -> dict[str, Counts]:
        """Refresh from what the source holds; the tables must then hold `after`."""
        results = refresh_all(self.settings, force=force)
        now = read_tables(self.settings)
        for table, result in results.items():
            oracle.assert_equal(now[table], after[table], table)
            counts = result.counts
            assert {
                "inserted": counts.inserted,
                "updated": counts.updated,
                "deleted": counts.deleted,
                "unchanged": counts.unchanged + result.rows_left,
            } == oracle.counts_between(self.expected[table], after[table]), table
        queries = results["search_query_performance"]
        assert queries.rows_left or queries.counts.read == rows_read
        self.expected = after
        return {name: result.counts for name, result in results.items()}


def queries(settings: Settings) -> list[str]:
    """List the text of every query that BigQuery ran in this test's dataset."""
    with closing(rest_client(settings)) as client:
        texts = [getattr(job, "query", "") for job in client.list_jobs(max_results=50)]
    return [text for text in texts if f".{settings.BIGQUERY_DATASET}." in text]
