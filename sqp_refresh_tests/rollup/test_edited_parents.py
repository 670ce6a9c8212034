"""A period that was computed from what somebody else wrote to a parent is computed again."""

from datetime import date

import pytest

from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import TABLES
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import deliver
from sqp_refresh_tests.helpers.rows import row

FIRST, SECOND = date(2025, 8, 3), date(2025, 8, 10)
WEEKS = [Period.week_of(FIRST), Period.week_of(SECOND)]
SUMMARIES = ["search_performance_summary", "weekly_summary", "yearly_summary"]
ENTER = (
    "INSERT INTO sqp.search_query_performance"
    " (start_date, end_date, marketplace, asin, search_query, asin_click_count)"
    f" VALUES ('{SECOND}', '{WEEKS[1].end}', 'US', 'B00NOBODYS', 'nobody asks', 7)"
)
REMOVE = "DELETE FROM sqp.search_query_performance WHERE asin = 'B00NOBODYS'"


def roll_up(url: str, table: str) -> RefreshResult:
    return refresh(url, RollupSource(TABLES[table], WEEKS), RefreshRequest("rollup"))


def asins_in(url: str, table: str) -> list[tuple]:
    return rows(url, f"SELECT DISTINCT asin FROM sqp.{table}")


@pytest.mark.parametrize("table", SUMMARIES)
def test_rows_that_somebody_entered_and_removed_again_do_not_stay(migrated_database, table):
    url = migrated_database
    deliver(url, [row(day=FIRST), row(day=SECOND)])
    execute(url, ENTER)
    roll_up(url, table)
    assert ("B00NOBODYS",) in asins_in(url, table)
    execute(url, REMOVE)

    roll_up(url, table)

    assert asins_in(url, table) == [("B000000001",)]
    assert not roll_up(url, table).loaded


def test_rows_of_an_added_week_that_are_removed_again_do_not_stay(migrated_database):
    url = migrated_database
    deliver(url, [row(day=FIRST)])
    roll_up(url, "yearly_summary")
    deliver(url, [row(day=SECOND)])
    execute(url, ENTER)
    roll_up(url, "yearly_summary")
    execute(url, REMOVE)

    roll_up(url, "yearly_summary")

    assert asins_in(url, "yearly_summary") == [("B000000001",)]
    assert rows(url, "SELECT weeks_count FROM sqp.yearly_summary") == [(2,)]
    assert not roll_up(url, "yearly_summary").loaded


def test_a_week_that_was_empty_and_is_so_again_leaves_nothing(migrated_database):
    url = migrated_database
    deliver(url, [row(day=FIRST)], *WEEKS)
    execute(url, ENTER)
    roll_up(url, "yearly_summary")
    execute(url, REMOVE)

    roll_up(url, "yearly_summary")

    assert asins_in(url, "yearly_summary") == [("B000000001",)]
