"""What of a table decides how it is loaded is read from its catalog and its rows."""

from dataclasses import replace
from datetime import date

import pytest

from sqp_refresh.load.target import TargetTable, accepts_copy, inspect_target
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    DAILY_SQP_DATA,
    SEARCH_PERFORMANCE_SUMMARY,
    SEARCH_QUERY_PERFORMANCE,
)
from sqp_refresh_tests.helpers.database import execute

WEEK = Period.week_of(date(2025, 8, 10))
NEXT_WEEK = Period.week_of(date(2025, 8, 17))
TABLE = SEARCH_QUERY_PERFORMANCE


def insert_row(url: str, week: Period) -> None:
    execute(
        url,
        "INSERT INTO sqp.search_query_performance"
        " (start_date, end_date, marketplace, asin, search_query)"
        f" VALUES ('{week.start}', '{week.end}', 'US', 'B000000001', 'widget')",
    )


def test_the_periods_that_the_table_has_a_row_of_are_told(session, migrated_database):
    insert_row(migrated_database, NEXT_WEEK)

    target = inspect_target(session, TABLE, [WEEK, NEXT_WEEK])

    assert target == TargetTable(accepts_copy=True, periods_with_rows=frozenset({NEXT_WEEK}))


@pytest.mark.parametrize(
    ("table", "periods"),
    [
        (TABLE, []),
        (DAILY_SQP_DATA, [WEEK]),
        (ASIN_PERFORMANCE_DATA, [WEEK]),
        (SEARCH_PERFORMANCE_SUMMARY, [WEEK]),
        (replace(DAILY_SQP_DATA, name="not_there"), [WEEK]),
    ],
    ids=["no period", "ratios", "medians", "derived", "not looked at"],
)
def test_a_table_that_takes_no_rows_by_copy_is_not_looked_at(session, table, periods):
    target = inspect_target(session, table, periods)

    assert target == TargetTable(accepts_copy=False, periods_with_rows=frozenset())


@pytest.mark.parametrize("type_", ["numeric", "integer"])
def test_copy_is_not_for_a_column_of_another_type(session, migrated_database, type_):
    execute(
        migrated_database,
        f"ALTER TABLE sqp.search_query_performance ALTER COLUMN asin_click_count TYPE {type_}",
    )

    assert not accepts_copy(session, TABLE)
    assert not inspect_target(session, TABLE, [WEEK]).accepts_copy


def test_copy_is_not_for_a_table_without_one_of_the_columns(session, migrated_database):
    execute(
        migrated_database, "ALTER TABLE sqp.search_query_performance DROP COLUMN asin_click_count"
    )

    assert not accepts_copy(session, TABLE)


def test_a_column_of_their_own_does_not_keep_copy_away(session, migrated_database):
    execute(migrated_database, "ALTER TABLE sqp.search_query_performance ADD COLUMN note text")

    assert accepts_copy(session, TABLE)
