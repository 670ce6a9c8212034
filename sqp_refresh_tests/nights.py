"""A refresh of all tables without Dagster, and what must be true after it."""

from dataclasses import dataclass, field
from datetime import date

import psycopg

from sqp_refresh.extract import BigQueryFeed
from sqp_refresh.load import Counts
from sqp_refresh.refresh import Summary, refresh
from sqp_refresh.rollup import Rollup
from sqp_refresh.settings import Settings
from sqp_refresh.tables import TABLES, Origin
from sqp_refresh.weeks import weeks_between
from sqp_refresh_tests import oracle
from sqp_refresh_tests.oracle import Rows
from sqp_refresh_tests.rows import Row, SourceTable

FIRST = date(2025, 7, 27)
LAST = date(2025, 8, 10)


def refresh_all(settings: Settings, first: date = FIRST, last: date = LAST) -> dict[str, Summary]:
    """Refresh every table over a range of weeks, parents first."""
    weeks = list(weeks_between(first, last))
    summaries = {}
    for table in TABLES.values():
        derived = table.origin is Origin.POSTGRES
        feed = Rollup(table, weeks) if derived else BigQueryFeed(settings, table, weeks)
        summaries[table.name] = refresh(settings.database_url, table, feed, run_id="night")
    return summaries


def held(settings: Settings) -> dict[str, Rows]:
    """What the tables hold now."""
    with psycopg.connect(settings.database_url) as connection:
        return {table: oracle.read_table(connection, table) for table in oracle.KEYS}


@dataclass
class Nights:
    """Nights in a row: each puts rows into the source, refreshes, and is held to the oracle."""

    settings: Settings
    source: SourceTable
    expected: dict[str, Rows] = field(default_factory=lambda: {name: {} for name in oracle.KEYS})

    def after(self, rows: list[Row], *, marketplace: str = "US", **shape) -> dict[str, Counts]:
        """Refresh from exactly these rows; every value and every count must be the oracle's."""
        self.source.replace(rows, **shape)
        after = oracle.expected_tables(rows, default_marketplace=marketplace)
        return self.refreshed(oracle.carry_titles(self.expected, after), len(rows))

    def refreshed(self, after: dict[str, Rows], rows_read: int) -> dict[str, Counts]:
        """Refresh from what the source holds; the tables must then hold `after`."""
        summaries = refresh_all(self.settings)
        now = held(self.settings)
        for table, summary in summaries.items():
            oracle.assert_equal(now[table], after[table], table)
            counts = summary.counts
            assert {
                "inserted": counts.inserted,
                "updated": counts.updated,
                "deleted": counts.deleted,
                "unchanged": counts.unchanged,
            } == oracle.counts_between(self.expected[table], after[table]), table
        assert summaries["search_query_performance"].counts.read == rows_read
        self.expected = after
        return {name: summary.counts for name, summary in summaries.items()}
