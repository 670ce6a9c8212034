"""Check what is reported of a night that ran: who launched it, for which tick, how it went."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from sqp_refresh.definitions import defs
from sqp_refresh.defs.cron import ticks_between
from sqp_refresh.defs.partitions import RERUN_TAG, launcher_of_run
from sqp_refresh.model.periods import finished_weeks
from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.helpers.commands import sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.rows import row

Tick = Callable[[str, datetime], dg.ExecuteInProcessResult]


@pytest.fixture
def tick() -> Iterator[Tick]:
    """Return a function that evaluates a schedule at an instant, and runs what it asks for."""
    with dg.instance_for_test() as instance:

        def tick_at(name: str, at: datetime) -> dg.ExecuteInProcessResult:
            schedule = defs().resolve_schedule_def(name)
            context = dg.build_schedule_context(instance=instance, scheduled_execution_time=at)
            requests = schedule.evaluate_tick(context).run_requests
            assert requests
            job = defs().resolve_job_def(schedule.job_name)
            return job.execute_in_process(
                instance=instance,
                run_config=requests[0].run_config,
                tags=dict(requests[0].tags),
                asset_selection=list(requests[0].asset_selection or ()) or None,
            )

        yield tick_at


def test_a_night_that_ran_is_the_first_of_seven(environment, source, tick, monkeypatch):
    monkeypatch.setenv("REFRESH_LOOKBACK_WEEKS", "2")
    now = datetime.now(UTC)
    weeks = finished_weeks(environment.REFRESH_START_DATE, now.date())[-2:]
    source.write([row(day=week.start, query=query) for week in weeks for query in ("a", "b")])
    (night,) = ticks_between(environment, now - timedelta(hours=25), now - timedelta(hours=1))
    url = environment.database_url
    execute(url, f"UPDATE sqp.refresh_config SET next_refresh_at = '{night}'")

    assert tick("daily_refresh_schedule", night).success

    runs = rows(url, "SELECT table_name, tick, launched_by, rerun, night FROM sqp.refresh_runs")
    assert {table for table, *_ in runs} == set(TABLES)
    assert {run[1:] for run in runs} == {(night, "schedule", None, night.date())}
    # No daemon launched it that could be asked for.
    monkeypatch.delenv("DAGSTER_HOME")
    done = sqp_refresh("status", "--json")
    status = json.loads(done.stdout)
    wrong = {line["name"]: line["problems"] for line in status["lines"] if line["problems"]}
    assert done.returncode == 1, wrong
    assert wrong.keys() == {"hands_off"}
    assert status["lines"][-1]["said"] == "1 of the last 7 nights went through by themselves"
    assert {table["table"]: table["rows"] for table in status["tables"]}["weekly_summary"] == 4
    by_hand = sqp_refresh("refresh", "--table", "daily_sqp_data", "--json")
    assert by_hand.returncode == 0
    (last, *_) = json.loads(sqp_refresh("history", "daily_sqp_data", "--json").stdout)
    assert (last["launched_by"], last["weeks_copied"], last["weeks_skipped"]) == ("person", 0, 2)


def test_maintenance_runs_at_its_ticks(environment, tick):
    expired = (
        "INSERT INTO sqp.refresh_checkpoints (function_name, table_name, expires_at, updated_at)"
        " VALUES ('refresh', 'interrupted', now() - interval '1 second', now())"
    )
    execute(environment.database_url, expired)
    state = "SELECT status FROM sqp.refresh_checkpoints"

    assert tick("hourly_maintenance_schedule", datetime.now(UTC)).success
    assert rows(environment.database_url, state) == [("expired",)]
    execute(
        environment.database_url,
        "ALTER TABLE sqp.refresh_checkpoints DISABLE TRIGGER USER;"
        "UPDATE sqp.refresh_checkpoints SET updated_at = now() - interval '8 days'",
    )
    assert tick("hourly_maintenance_schedule", datetime.now(UTC)).success
    assert rows(environment.database_url, state) == [("expired",)]
    assert tick("weekly_maintenance_schedule", datetime.now(UTC)).success
    assert rows(environment.database_url, state) == []


def test_maintenance_at_the_command_line_says_what_it_did(environment):
    assert sqp_refresh("maintain").stdout.splitlines() == [
        "0 checkpoints closed",
        "0 checkpoints deleted",
        "0 deliveries deleted",
        "0 quarantined rows deleted",
        "0 history deleted",
        "0 requests deleted",
        "0 runs archived",
    ]


@pytest.mark.parametrize(
    ("tags", "launcher"),
    [
        ({}, "person"),
        ({"dagster/schedule_name": "s"}, "schedule"),
        ({"dagster/sensor_name": "s"}, "sensor"),
        ({"dagster/sensor_name": "s", "dagster/parent_run_id": "r", RERUN_TAG: "1"}, "sensor"),
        ({"dagster/schedule_name": "s", "dagster/parent_run_id": "r"}, "person"),
        (
            {
                "dagster/schedule_name": "s",
                "dagster/parent_run_id": "r",
                "dagster/retry_number": "1",
            },
            "retry",
        ),
    ],
)
def test_who_launched_a_run_is_read_from_its_tags(tags, launcher):
    assert launcher_of_run(tags) == launcher
