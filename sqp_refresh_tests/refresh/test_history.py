"""The history of changes tells what every period of a table held at every instant.

That it does for random changes, `test_rollback` holds.
"""

from datetime import date, timedelta

import psycopg
import pytest

from sqp_refresh.control.maintenance import delete_history
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.history import COPIED, as_of, clock, publish

FIRST, SECOND = date(2025, 8, 10), date(2025, 8, 17)
ASIN = "B000000001"
RECORDED = "SELECT operation, before, key->>'search_query' FROM sqp.refresh_history ORDER BY id"


@pytest.fixture
def url(migrated_database: str) -> str:
    return migrated_database


def history_of(url: str, table: str = "search_query_performance") -> list[tuple]:
    where = f"WHERE table_name = '{table}' ORDER BY id"
    return rows(url, RECORDED.replace("ORDER BY id", where))


def test_each_row_is_recorded_as_it_was_before(url):
    publish(url, {FIRST: {"a": (1, 1), "b": (2, 1), "c": (3, 1)}})
    assert rows(url, RECORDED) == []

    publish(url, {FIRST: {"a": (1, 1), "b": (5, 1), "d": (4, 2)}})

    changes = {key: (operation, before) for operation, before, key in history_of(url)}
    assert changes.keys() == {"b", "c", "d"}
    operation, before = changes["b"]
    assert operation == "update"
    assert before == {"asin_click_count": 2, "asin_click_share": 0.37}
    operation, before = changes["c"]
    assert operation == "delete"
    assert before.items() >= {("search_query", "c"), ("asin_click_count", 3), ("asin", ASIN)}
    assert "created_at" in before
    assert changes["d"] == ("insert", None)
    runs = "SELECT DISTINCT audit_log_id, changed_at FROM sqp.refresh_history WHERE table_name = "
    ((run, changed_at),) = rows(url, f"{runs} 'search_query_performance'")
    assert rows(url, f"SELECT table_name FROM sqp.refresh_audit_log WHERE id = {run}") == [
        ("search_query_performance",)
    ]
    published = "SELECT published_at FROM sqp.refresh_periods WHERE table_name = 'weekly_summary'"
    assert changed_at < rows(url, published)[0][0]
    assert {operation for operation, *_ in history_of(url, "monthly_summary")} == {
        "insert",
        "update",
        "delete",
    }
    restated = "SELECT rows_inserted, rows_updated, rows_deleted, asin_clicks_before, "
    restated += "asin_clicks_after, asin_purchases_before, asin_purchases_after"
    for table in COPIED:
        query = f"{restated} FROM sqp.restatements WHERE table_name = '{table}'"
        assert rows(url, query) == [(1, 1, 1, 6, 10, 3, 4)], table


def test_weeks_that_are_added_are_history_of_the_months_sums(url):
    publish(url, {FIRST: {"a": (1, 1)}})
    publish(url, {SECOND: {"a": (2, 1), "b": (1, 0)}})

    changes = history_of(url, "monthly_summary")

    assert {operation: before and before["asin_clicks"] for operation, before, _ in changes} == {
        "update": 1,
        "insert": None,
    }
    # The second week is published for the first time.
    assert history_of(url) == []


def test_rows_that_come_back_are_recorded(url):
    publish(url, {FIRST: {"a": (1, 1), "b": (2, 1)}})
    execute(url, "DELETE FROM sqp.search_query_performance")
    empty = clock(url)

    publish(url, {FIRST: {"a": (1, 1), "b": (2, 1)}})

    assert [operation for operation, *_ in history_of(url)] == ["insert", "insert"]
    week = ("search_query_performance", FIRST)
    assert as_of(url, empty, week) == {week: []}


def test_the_first_rows_of_a_week_that_came_empty_are_no_history(url):
    publish(url, {FIRST: {}})
    before = clock(url)
    publish(url, {FIRST: {"a": (1, 1)}})

    assert rows(url, RECORDED) == []
    week = ("search_query_performance", FIRST)
    assert as_of(url, before, week) == {week: []}


def test_without_history_the_past_is_refused_and_not_invented(url):
    first = publish(url, {FIRST: {"a": (1, 1)}})
    before = clock(url) - timedelta(hours=1)
    publish(url, {FIRST: {"a": (2, 1)}}, keeps_history=False)
    third = publish(url, {FIRST: {"a": (2, 1)}})
    publish(url, {FIRST: {"a": (3, 1)}})

    week = ("search_query_performance", FIRST)
    assert as_of(url, third.at, week)[week] == third.held[week]
    assert as_of(url, before, week) == {week: []}
    with pytest.raises(psycopg.Error, match=r"the history of sqp\.search_query_performance of"):
        as_of(url, first.at, week)


def test_what_is_of_age_is_deleted_and_refused_from_then_on(url):
    first = publish(url, {FIRST: {"a": (1, 1)}, SECOND: {"a": (1, 1)}})
    publish(url, {FIRST: {"a": (2, 1)}})
    second = publish(url, {FIRST: {"a": (3, 1)}})
    old = "UPDATE sqp.refresh_history SET changed_at = changed_at - interval '91 days'"
    execute(url, f"{old} WHERE before->>'asin_click_count' = '1'")
    with connect(url) as session, session.transaction():
        assert delete_history(session, 90) == 1

    week, other = ("search_query_performance", FIRST), ("search_query_performance", SECOND)
    assert [before["asin_click_count"] for _, before, _ in history_of(url)] == [2]
    assert as_of(url, second.at, week)[week] == second.held[week]
    assert as_of(url, first.at, other)[other] == first.held[other]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("'nowhere', '2025-08-10', now()", "there is no table sqp.nowhere"),
        ("'weekly_summary', '2025-08-12', now()", "the one that holds it begins on 2025-08-10"),
        ("'weekly_summary', '2025-08-10', null", "none may be null"),
    ],
)
def test_what_cannot_be_told_is_an_error(url, arguments, message):
    execute(
        url,
        "INSERT INTO sqp.refresh_periods (table_name, period_start, period_end, target_state,"
        " row_count, changed_by, published_by)"
        " VALUES ('weekly_summary', '2025-08-10', '2025-08-16', '', 0, 1, 1)",
    )
    with pytest.raises(psycopg.Error, match=message):
        rows(url, f"SELECT sqp.as_of({arguments})")


def test_as_of_calls_nothing_that_somebody_put_into_public(url):
    publish(url, {FIRST: {"a": (1, 1)}})
    publish(url, {FIRST: {"a": (2, 1)}})
    execute(
        url,
        "CREATE FUNCTION public.to_jsonb(sqp.search_query_performance) RETURNS jsonb"
        " LANGUAGE plpgsql AS $$ BEGIN RAISE 'called'; END $$",
    )
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = public, pg_catalog")
        query = "SELECT count(*) FROM sqp.as_of('search_query_performance', '2025-08-10', now())"
        assert connection.execute(query).fetchall() == [(1,)]
