"""Refresh on every server as a user who owns the database and has no other right."""

from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres import migrate
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh_tests.migrations.one_week import OneWeek
from sqp_refresh_tests.migrations.servers import Database


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
