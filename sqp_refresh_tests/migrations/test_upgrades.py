"""A database that holds rows, from every earlier version to this one; nothing of it is lost."""

import pytest

from sqp_refresh import migrate
from sqp_refresh.refresh import Order, refresh
from sqp_refresh_tests.migrations.conftest import Database
from sqp_refresh_tests.migrations.test_refresh_as_owner import WEEK, OneWeek

EARLIER = sorted(path.name[:4] for path in (migrate.FOLDER / "versions").glob("0*.py"))[:-1]
ROWS = "SELECT search_query FROM sqp.search_query_performance WHERE start_date = %s ORDER BY 1"
LONG_AGO = "2024-08-18"


def fill(database: Database) -> None:
    """A week of long ago and one that is refreshed again; where there is a registry, a change."""
    for first, last, query in (
        (LONG_AGO, "2024-08-24", "old"),
        (str(WEEK.start), str(WEEK.end), "a"),
        (str(WEEK.start), str(WEEK.end), "gone"),
    ):
        database.rows(
            "INSERT INTO sqp.search_query_performance"
            " (marketplace, start_date, end_date, asin, search_query)"
            " VALUES ('x', %s, %s, 'x', %s)",
            first,
            last,
            query,
        )
    if database.rows("SELECT to_regclass('sqp.refresh_config') IS NOT NULL") == [(True,)]:
        database.run(
            "INSERT INTO sqp.refresh_config (table_name, priority) VALUES ('weekly_summary', 7)"
            " ON CONFLICT (table_schema, table_name) DO UPDATE SET priority = 7",
            "INSERT INTO sqp.refresh_audit_log (table_name, status, refresh_completed_at)"
            " VALUES ('weekly_summary', 'success', now())",
        )


@pytest.mark.parametrize("version", EARLIER)
def test_rows_survive_an_upgrade_and_are_refreshed_after_it(database_18: Database, version: str):
    database = database_18
    migrate.upgrade(database.url, version)
    fill(database)
    logged = version >= "0002"

    migrate.upgrade(database.url)
    counts = refresh(database.url, OneWeek(["a", "b"]), Order("after")).counts

    assert database.rows(ROWS, LONG_AGO) == [("old",)]
    assert database.rows(ROWS, WEEK.start) == [("a",), ("b",)]
    assert (counts.updated, counts.inserted, counts.deleted) == (1, 1, 1)
    priority = "SELECT priority FROM sqp.refresh_config WHERE table_name = 'weekly_summary'"
    assert database.rows(priority) == [(7 if logged else 80,)]
    kept = "SELECT status FROM sqp.refresh_audit_log WHERE table_name = 'weekly_summary'"
    assert database.rows(kept) == [("success",)] * logged
