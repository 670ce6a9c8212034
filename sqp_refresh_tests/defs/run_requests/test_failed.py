"""What the sensors make of runs that failed or died, and of weeks that were restated late."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin as CodeLocation
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin

from sqp_refresh import retrying
from sqp_refresh.definitions import defs
from sqp_refresh.defs import sensors
from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests import failed as reruns_module
from sqp_refresh.defs.run_requests.code_location import is_of
from sqp_refresh.extract import client
from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, three_weeks

AWAY = "http://127.0.0.1:1"
SUMMARIES = {table for table in TABLES if table.endswith("_summary")}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0)


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    """An instance that knows of no run yet."""
    with dg.instance_for_test() as instance:
        yield instance


class Operators:
    """What launches runs and evaluates sensors, at times of one's own choosing."""

    def __init__(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance = instance
        self._monkeypatch = monkeypatch

    def run(self, tables=None, **tags: str) -> dg.ExecuteInProcessResult:
        job = defs().resolve_job_def("daily_refresh")
        return job.execute_in_process(
            instance=self.instance,
            tags=range_tags(str(FIRST), str(LAST)) | tags,
            asset_selection=tables and [dg.AssetKey(["sqp", table]) for table in tables],
            raise_on_error=False,
        )

    def run_while_away(self, tables=None, **tags: str) -> dg.ExecuteInProcessResult:
        """BigQuery cannot be reached meanwhile."""
        with self._monkeypatch.context() as away:
            away.setenv("BIGQUERY_EMULATOR_HOST", AWAY)
            away.setattr(client, "CALL_DEADLINE_S", 0.3)
            return self.run(tables, **tags)

    def sense(self, name: str = "failed_refreshes", *, after: timedelta = timedelta()):
        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + after

        with self._monkeypatch.context() as at:
            at.setattr(reruns_module, "datetime", Clock)
            at.setattr(sensors, "datetime", Clock)
            context = dg.build_sensor_context(instance=self.instance, definitions=defs())
            return list(defs().resolve_sensor_def(name).evaluate_tick(context).run_requests or [])

    def launch(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        return self.run(asked(request), **request.tags)


@pytest.fixture
def operators(own_instance, environment, source, monkeypatch) -> Operators:
    source.write(three_weeks())
    return Operators(own_instance, monkeypatch)


def asked(request: dg.RunRequest) -> set[str]:
    return {key.path[-1] for key in request.asset_selection or ()}


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_what_failed_and_may_succeed_is_run_again_with_all_below_it(operators):
    failed = operators.run_while_away()
    assert operators.sense() == []

    (request,) = operators.sense(after=minutes(1.5))

    assert asked(request) == set(TABLES)
    assert request.tags["dagster/parent_run_id"] == failed.run_id
    assert request.tags["sqp_refresh/rerun"] == "1"
    assert request.tags["dagster/asset_partition_range_start"] == str(FIRST)
    assert operators.launch(request).success
    assert operators.sense(after=minutes(90)) == []


def test_a_table_is_run_again_three_times_a_day_each_time_later(operators):
    operators.run_while_away(["daily_sqp_data"])

    for number, pause in enumerate((1, 5, 25), start=1):
        assert operators.sense(after=minutes(pause - 0.9)) == []
        (request,) = operators.sense(after=minutes(pause + 0.2))
        assert request.tags["sqp_refresh/rerun"] == str(number)
        operators.run_while_away(asked(request), **request.tags)

    assert operators.sense(after=timedelta(hours=20)) == []


def test_a_failure_that_another_attempt_does_not_change_is_not_run_again(operators, monkeypatch):
    with monkeypatch.context() as wrong:
        wrong.setenv("BIGQUERY_SOURCE_TABLE", "nowhere")
        operators.run()

    assert operators.sense(after=minutes(90)) == []


def test_what_dagster_or_a_person_runs_again_is_left_to_them(operators):
    operators.run_while_away(["daily_sqp_data"], **{"dagster/will_retry": "true"})
    first = operators.run_while_away(["asin_performance_data"])
    operators.run_while_away(["asin_performance_data"], **{"dagster/parent_run_id": first.run_id})

    requests = operators.sense(after=minutes(2))

    # Only the re-run by hand itself, which failed too, is nobody else's.
    assert [asked(one) for one in requests] == [{"asin_performance_data"}]
    assert requests[0].tags["dagster/parent_run_id"] != first.run_id


def test_what_can_do_without_a_failed_parent_is_run_at_once(operators, environment):
    url = environment.database_url
    execute(
        url,
        "UPDATE sqp.refresh_dependencies SET dependency_type = 'soft' WHERE parent_config_id ="
        " (SELECT id FROM sqp.refresh_config WHERE table_name = 'asin_performance_data')",
    )
    execute(
        url,
        "UPDATE sqp.refresh_config SET is_enabled = false"
        " WHERE table_name = 'asin_performance_data'",
    )
    operators.run()

    (request,) = operators.sense()

    assert asked(request) == SUMMARIES
    assert operators.launch(request).success
    log = rows(url, "SELECT status, error_message FROM sqp.refresh_audit_log ORDER BY id DESC")
    for status, message in log[: len(SUMMARIES)]:
        assert status == "warning"
        assert message.startswith("asin_performance_data, which it needs where it can, failed")


def test_a_run_that_died_is_closed_and_run_again(operators, environment, own_instance):
    url = environment.database_url
    run = own_instance.create_run_for_job(
        defs().resolve_job_def("daily_refresh"),
        tags=range_tags(str(FIRST), str(LAST)),
        status=dg.DagsterRunStatus.STARTED,
    )
    execute(
        url,
        "INSERT INTO sqp.refresh_audit_log (table_name, sync_metadata)"
        f""" VALUES ('daily_sqp_data', '{{"run_id": "{run.run_id}"}}')""",
    )

    assert operators.sense() == []
    assert rows(url, "SELECT status FROM sqp.refresh_audit_log") == [("failed",)]
    assert operators.sense(after=minutes(0.5)) == []
    (request,) = operators.sense(after=minutes(1.5))

    assert asked(request) == set(TABLES)
    found = own_instance.get_run_by_id(run.run_id)
    assert found
    assert found.status == dg.DagsterRunStatus.FAILURE


def test_the_runs_of_another_agency_s_code_location_are_left_to_it(own_instance):
    job = defs().resolve_job_def("daily_refresh")
    origin = CodeLocation("127.0.0.1", 4000, location_name="another agency")
    theirs = own_instance.create_run_for_job(
        job,
        status=dg.DagsterRunStatus.FAILURE,
        remote_job_origin=RemoteJobOrigin(
            RemoteRepositoryOrigin(origin, "__repository__"), job.name
        ),
    )
    nobodys = own_instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE)

    assert not is_of("sqp_refresh", theirs)
    assert is_of("another agency", theirs)
    assert is_of(None, theirs)
    assert is_of("sqp_refresh", nobodys)


def test_weeks_before_the_look_back_that_were_restated_are_asked_for(
    operators, environment, source
):
    refresh_all(environment)
    assert operators.sense("restated_weeks") == []
    restated = [
        dict(one, **{"Search Query Volume": 7}) if one["Date"] != MIDDLE else one
        for one in three_weeks()
    ]
    source.replace(restated)

    first, last = operators.sense("restated_weeks")

    for request, week in ((first, FIRST), (last, LAST)):
        assert asked(request) == set(TABLES)
        assert request.tags["dagster/asset_partition_range_start"] == str(week)
        assert request.tags["dagster/asset_partition_range_end"] == str(week)
    again = operators.sense("restated_weeks")
    assert [one.run_key for one in again] == [first.run_key, last.run_key]
    operators.run()
    assert operators.sense("restated_weeks") == []


def test_a_week_that_was_empty_and_has_arrived_since_is_asked_for(operators, environment, source):
    source.replace([one for one in three_weeks() if one["Date"] != MIDDLE])
    refresh_all(environment)
    source.replace(three_weeks())

    (request,) = operators.sense("restated_weeks")

    assert request.tags["dagster/asset_partition_range_start"] == str(MIDDLE)


def test_a_disabled_table_is_not_asked_for_by_a_restatement(operators, environment, source):
    refresh_all(environment)
    source.replace(three_weeks(volume=7))
    execute(
        environment.database_url,
        "UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name = 'daily_sqp_data'",
    )

    (request,) = operators.sense("restated_weeks")

    assert asked(request) == TABLES.keys() - {"daily_sqp_data"}


def test_the_last_tick_is_that_of_the_cron(environment, monkeypatch):
    assert sensors.last_tick(environment, datetime(2026, 3, 1, 1, 59, tzinfo=UTC)) == datetime(
        2026, 2, 28, 2, tzinfo=UTC
    )
