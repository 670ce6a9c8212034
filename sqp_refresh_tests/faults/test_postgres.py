"""Refresh while Postgres ends connections, crashes, or is gone, at the worst moments."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from sqp_refresh import retrying
from sqp_refresh.errors import Unavailable
from sqp_refresh.postgres import answer_deadline
from sqp_refresh.postgres.session import connect
from sqp_refresh.settings import Settings
from sqp_refresh_tests.faults.outcome import assert_published, assert_succeeded, log, refreshed
from sqp_refresh_tests.faults.proxies import TcpProxy, postgres_connector, tcp_proxy
from sqp_refresh_tests.faults.sources import (
    WEEKS,
    Disturbed,
    DisturbedAfterAWeek,
    DisturbedWithinAWeek,
)
from sqp_refresh_tests.helpers.database import rows

MOMENTS = [DisturbedAfterAWeek, DisturbedWithinAWeek]
pytestmark = pytest.mark.timeout(90)


@pytest.fixture(autouse=True)
def _patient(_impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow as many attempts as in production: a server takes its time to recover."""
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 1)
    monkeypatch.setattr("sqp_refresh.refresh.run.retrying", retrying.retrying)


@pytest.fixture
def line(environment: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TcpProxy]:
    """Put a proxy before Postgres; the settings name the proxy."""
    with tcp_proxy(postgres_connector(environment.database_url)) as proxy:
        url = urlsplit(environment.database_url)
        over_tcp = url._replace(netloc=f"{url.username}@{proxy.host}", query="sslmode=disable")
        monkeypatch.setenv("DATABASE_URL", over_tcp.geturl())
        yield proxy


def terminate_backends(url: str) -> None:
    with psycopg.connect(url) as connection:
        ended = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()
    assert len(ended) >= 2  # the refresh's own, and that of its writer


def crash(url: str) -> None:
    """Kill one backend outright: the server takes all others down, recovers, and starts again."""
    with psycopg.connect(url) as connection:
        os.kill(connection.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            connection.execute(sql.SQL("SELECT pg_sleep(10)"))


@pytest.mark.parametrize("breaks", [terminate_backends, crash])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_refresh_outlasts_the_loss_of_its_connections_and_copies_no_week_twice(
    environment, moment: type[Disturbed], breaks: Callable[[str], None]
):
    disturbed = moment(environment, lambda: breaks(environment.database_url))

    summary = refreshed("r", source=disturbed)

    assert list(summary.periods) == WEEKS
    assert_published(WEEKS)
    assert_succeeded("r")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_refresh_outlasts_a_reset_of_its_connections(line: TcpProxy, moment: type[Disturbed]):
    refreshed("r", source=moment(Settings.read(), line.reset))

    assert_published(WEEKS)
    assert_succeeded("r")


def test_an_answer_that_a_pooler_loses_is_not_waited_for_for_ever(line: TcpProxy, monkeypatch):
    monkeypatch.setattr(answer_deadline, "ANSWER_S", 0.2)
    monkeypatch.setattr(answer_deadline, "POLL_S", 0.1)
    # The thread that watches may sleep for as long as it did before.
    monkeypatch.setattr(answer_deadline, "_watch", threading.Lock())

    with connect(Settings.read().database_url) as session:
        assert session.fetch_one("SELECT 1") == (1,)
        line.loses_answers = True
        with pytest.raises(Unavailable, match="server closed the connection unexpectedly"):
            session.fetch_one("SELECT 2")


def test_a_target_that_stays_away_ends_the_refresh_and_the_next_one_tells_of_it(
    environment, line: TcpProxy
):
    def lost() -> None:
        line.refuses = True
        line.reset()

    with pytest.raises(Unavailable, match="check that it is up"):
        refreshed("lost", source=DisturbedWithinAWeek(Settings.read(), lost))
    url = environment.database_url
    assert rows(url, "SELECT status FROM sqp.refresh_audit_log") == [("running",)]

    line.refuses = False
    summary = refreshed("next")

    assert (list(summary.periods), summary.resumes) == (WEEKS[1:], "lost")
    assert [entry[:2] for entry in log()] == [("lost", "failed"), ("next", "success")]
    assert_published(WEEKS)
