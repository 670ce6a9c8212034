"""What a tick of the schedule requests, and what happens to a night that comes late."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres.session import Session
from sqp_refresh_tests.defs.run_requests.operator import requested_tables, requested_weeks
from sqp_refresh_tests.helpers.code_location import code_location
from sqp_refresh_tests.helpers.database import execute

NIGHT = datetime(2025, 8, 18, 2, tzinfo=UTC)
NOWHERE = "postgresql://u:p@127.0.0.1:1/d"


@pytest.fixture
def due(environment) -> str:
    """URL of a database whose tables are all due at NIGHT, and no sooner."""
    execute(environment.database_url, f"UPDATE sqp.refresh_config SET next_refresh_at = '{NIGHT}'")
    return environment.database_url


@pytest.fixture
def tick(instance):
    """Evaluates the schedule."""

    def evaluated(at: datetime = NIGHT) -> tuple[dg.RunRequest | None, str | None]:
        schedule = code_location().resolve_schedule_def("daily_refresh_schedule")
        context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
        result = schedule.evaluate_tick(context)
        return next(iter(result.run_requests or []), None), result.skip_message

    return evaluated


def test_a_tick_requests_the_tables_that_are_due_over_the_look_back(due, tick, monkeypatch):
    monkeypatch.setenv("REFRESH_LOOKBACK_WEEKS", "3")
    execute(
        due,
        "UPDATE sqp.refresh_config SET next_refresh_at = next_refresh_at + interval '1 second'"
        " WHERE table_name LIKE '%ly_summary'",
    )

    request, _ = tick()

    assert requested_tables(request) == {
        "asin_performance_data",
        "search_query_performance",
        "search_performance_summary",
        "daily_sqp_data",
    }
    assert requested_weeks(request) == ("2025-07-27", "2025-08-10")
    assert request.tags["sqp_refresh/tick"] == "2025-08-18T02:00:00+00:00"


def test_a_disabled_table_is_not_requested(due, tick):
    execute(
        due, "UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name = 'daily_sqp_data'"
    )

    request, _ = tick()

    assert requested_tables(request) == TABLES.keys() - {"daily_sqp_data"}


def test_a_table_may_look_further_back_than_the_others(due, tick):
    execute(
        due,
        """UPDATE sqp.refresh_config SET custom_sync_params = '{"lookback_weeks": 12}'"""
        " WHERE table_name = 'daily_sqp_data'",
    )

    request, _ = tick()

    assert requested_weeks(request) == ("2025-05-25", "2025-08-10")


def test_a_tick_at_which_nothing_is_due_requests_nothing(due, tick):
    request, reason = tick(NIGHT - timedelta(seconds=1))

    assert request is None
    assert reason == "no enabled table is due at 2025-08-18 01:59 UTC"


def test_before_the_first_week_has_ended_the_schedule_skips(due, tick):
    early = datetime(2024, 8, 20, 2, tzinfo=UTC)
    execute(due, f"UPDATE sqp.refresh_config SET next_refresh_at = '{early}'")

    request, reason = tick(early)

    assert request is None
    assert reason == "no week since 2024-08-18 has ended yet"


def test_a_registry_that_is_away_delays_the_night_and_says_so(due, tick, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", NOWHERE)

    request, reason = tick()

    assert request is None
    assert reason is not None
    assert reason.startswith("the night is delayed: Postgres: ")
    assert "overdue_refreshes" in reason


@pytest.fixture
def overdue(monkeypatch):
    """Evaluates the sensor as of five minutes after NIGHT, by the clock of Postgres."""

    def evaluated(instance: dg.DagsterInstance) -> tuple[dg.RunRequest | None, str | None]:
        monkeypatch.setattr(Session, "now", lambda _: NIGHT + timedelta(minutes=5))
        sensor = code_location().resolve_sensor_def("overdue_refreshes")
        context = dg.build_sensor_context(instance=instance, definitions=code_location())
        result = sensor.evaluate_tick(context)
        return next(iter(result.run_requests or []), None), result.skip_message

    return evaluated


def test_a_night_that_the_schedule_could_not_request_is_requested_later(due, overdue, monkeypatch):
    with dg.DagsterInstance.ephemeral() as instance, monkeypatch.context() as unreachable:
        unreachable.setenv("DATABASE_URL", NOWHERE)
        _, reason = overdue(instance)
        assert reason is not None
        assert reason.endswith("it is tried again at the next tick")
        monkeypatch.setenv("DATABASE_URL", due)

        request, _ = overdue(instance)

    assert requested_tables(request) == set(TABLES)
    assert request.run_key == request.tags["sqp_refresh/tick"] == "2025-08-18T02:00:00+00:00"


def test_a_night_that_was_requested_is_not_requested_twice(due, overdue, tick):
    request, _ = tick()
    with dg.DagsterInstance.ephemeral() as instance:
        job = code_location().resolve_job_def("daily_refresh")
        instance.create_run_for_job(job, tags=request.tags)

        request, reason = overdue(instance)

    assert request is None
    assert reason == f"the night of {NIGHT} was requested"


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(hours=1), timedelta(days=1)])
def test_a_tick_that_comes_too_early_waits_for_the_clock_of_postgres(due, tick, ahead, monkeypatch):
    monkeypatch.setattr(Session, "now", lambda _: NIGHT - ahead)

    request, reason = tick()

    assert request is None
    assert reason is not None
    assert reason.startswith(
        "2025-08-18 02:00 UTC has not come yet: by the clock of Postgres it is"
    )


def test_a_night_comes_by_the_clock_of_postgres_whatever_the_machine_says(due, overdue):
    # This machine says that it is years later.
    with dg.DagsterInstance.ephemeral() as instance:
        request, _ = overdue(instance)

    assert requested_tables(request) == set(TABLES)
    assert requested_weeks(request)[1] == "2025-08-10"
