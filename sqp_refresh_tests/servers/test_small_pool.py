"""Test that refreshes which share a pool of two connections do not starve each other."""

import threading

import pytest

from sqp_refresh.control import table_lock as table_lock_module
from sqp_refresh.control.table_lock import table_lock, try_lock
from sqp_refresh.errors import Busy, NoConnection, SettingsError, Unavailable
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.tables import DAILY_SQP_DATA
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.retrying import _Failures
from sqp_refresh_tests.helpers.database import rows
from sqp_refresh_tests.helpers.weeks import WEEKS, three_weeks
from sqp_refresh_tests.servers.pgbouncer import BY_STATEMENT
from sqp_refresh_tests.servers.running import POOLED, Server

pooled = pytest.mark.parametrize("target_server", [POOLED], indirect=True)


@pooled
def test_who_waits_for_a_table_keeps_no_connection(environment, monkeypatch):
    monkeypatch.setattr(table_lock_module, "WAIT_S", 3)
    url, failures = environment.database_url, []

    def wait() -> None:
        with table_lock(url, DAILY_SQP_DATA) as second, pytest.raises(Busy):
            second.acquire()
        failures.append("Busy")

    with table_lock(url, DAILY_SQP_DATA) as first:
        first.acquire()
        waiting = threading.Thread(target=wait)
        waiting.start()
        for _ in range(5):
            assert rows(url, "SELECT 1") == [(1,)]
        assert waiting.is_alive(), "what the first has to do is not done after the wait only"
        waiting.join()
        assert failures == ["Busy"]


@pytest.mark.parametrize(("error", "is_given_back"), [(NoConnection, True), (Unavailable, False)])
def test_a_refresh_that_gets_no_connection_gives_its_own_back(
    environment, source, monkeypatch, error, is_given_back
):
    source.write(three_weeks())
    url, tried = environment.database_url, []

    class FailsOnce(BigQuerySource):
        def versions(self, *arguments, **options):
            if not tried:
                raise error("once")
            return super().versions(*arguments, **options)

    def pause_s(_: _Failures) -> float:
        with connect(url) as session:
            tried.append(try_lock(session, DAILY_SQP_DATA.name))
        return 0

    monkeypatch.setattr(_Failures, "pause_s", pause_s)

    result = refresh(url, FailsOnce(environment, DAILY_SQP_DATA, WEEKS), RefreshRequest("r"))

    assert result.counts.inserted == 6
    assert tried == [is_given_back]


@pooled
@pytest.mark.parametrize("user", ["scram", "md5"])
def test_a_pooler_asks_for_the_password_in_either_way(target_server: Server, user):
    assert target_server.pooler
    assert rows(target_server.pooler.url("postgres", user), "SELECT 1") == [(1,)]


@pooled
def test_a_pool_of_statements_is_refused_at_once(target_server: Server):
    assert target_server.pooler
    url = target_server.pooler.url(BY_STATEMENT)

    with pytest.raises(SettingsError, match="pool_mode = transaction"):
        migrate.upgrade(url)
    with connect(url) as session, pytest.raises(SettingsError, match="pool_mode = transaction"):
        session.fetch_one("SELECT 1")
