"""Tell BigQuery's time from its answers, and Postgres's by asking, whatever this machine says."""

from datetime import UTC, datetime, timedelta

import pytest

from sqp_refresh.cli.common import requested_weeks
from sqp_refresh.errors import RefreshError
from sqp_refresh.extract import client
from sqp_refresh.extract.client import ServerTime
from sqp_refresh.monitoring.doctor.bigquery_checks import check_clock
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh_tests.helpers.weeks import three_weeks

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
S, MS = timedelta(seconds=1), timedelta(milliseconds=1)


@pytest.mark.parametrize(
    ("asked", "answered", "now"),
    [
        # The clocks agree: within a second, this machine's tells more.
        (NOON + 100 * MS, NOON + 300 * MS, NOON + 100 * MS),
        (NOON - 100 * MS, NOON + 100 * MS, NOON - 100 * MS),
        (NOON + 5 * S, NOON + 6 * S, NOON + 5 * S),
        # An answer that took a minute is dated when it was given.
        (NOON - 60 * S, NOON + 1 * S, NOON - 60 * S),
        # This machine is ahead, or behind.
        *((NOON + ahead, NOON + ahead + S, NOON) for ahead in (11 * S, 600 * S, 86_400 * S)),
        *((NOON - behind, NOON - behind + S, NOON) for behind in (3 * S, 600 * S, 86_400 * S)),
    ],
)
def test_bigquery_s_time_is_that_of_its_answer(asked, answered, now):
    time = ServerTime.told_by(NOON, asked, answered)

    assert time.now == now
    assert bool(time.ahead) is (now == NOON)
    assert time.ahead >= timedelta() or asked < NOON


def test_an_answer_without_a_date_leaves_this_machine_s_time():
    assert ServerTime.told_by(None, NOON, NOON + S) == ServerTime(NOON)


def test_the_weeks_that_have_ended_are_those_by_the_clock_of_postgres(environment, monkeypatch):
    monkeypatch.setattr(Session, "now", lambda _: datetime(2025, 8, 17, 0, 0, 1, tzinfo=UTC))

    assert str(requested_weeks(environment, None, None)[-1]) == "2025-08-10"


def test_the_clock_of_postgres_is_asked_in_no_transaction(migrated_database):
    with connect(migrated_database) as session:
        now = session.now()
        assert abs(now - datetime.now(UTC)) < 5 * S
        # A transaction that was open would have begun before.
        (began,) = session.fetch_one("SELECT now()")
    assert began > now


def test_the_doctor_tells_how_far_bigquery_s_clock_is(environment, source, monkeypatch):
    source.write(three_weeks())
    assert "is +0 s from this machine's" in check_clock(environment)

    class Ahead(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(minutes=10)

    monkeypatch.setattr(client, "datetime", Ahead)
    with pytest.raises(RefreshError, match=r"BigQuery is -(59\d|60\d) s from this machine's.*NTP"):
        check_clock(environment)
