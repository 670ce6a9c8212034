"""What the sensor requests after runs that failed, or whose process died."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin as CodeLocation
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin

from sqp_refresh.definitions import defs
from sqp_refresh.defs import sensors
from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests.code_location import is_of
from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.defs.run_requests.operator import requested_tables
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.weeks import FIRST, LAST

SUMMARIES = {table for table in TABLES if table.endswith("_summary")}


def minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def test_what_failed_and_may_succeed_is_run_again_with_all_below_it(operator):
    failed = operator.run_without_bigquery()
    assert operator.sense() == []

    (request,) = operator.sense(after=minutes(1.5))

    assert requested_tables(request) == set(TABLES)
    assert request.tags["dagster/parent_run_id"] == failed.run_id
    assert request.tags["sqp_refresh/rerun"] == "1"
    assert request.tags["dagster/asset_partition_range_start"] == str(FIRST)
    assert operator.launch(request).success
    assert operator.sense(after=minutes(90)) == []


def test_a_table_is_run_again_three_times_a_day_each_time_later(operator):
    operator.run_without_bigquery(["daily_sqp_data"])

    for number, pause in enumerate((1, 5, 25), start=1):
        assert operator.sense(after=minutes(pause - 0.9)) == []
        (request,) = operator.sense(after=minutes(pause + 0.2))
        assert request.tags["sqp_refresh/rerun"] == str(number)
        operator.run_without_bigquery(requested_tables(request), **request.tags)

    assert operator.sense(after=timedelta(hours=20)) == []


def test_a_failure_that_another_attempt_does_not_change_is_not_run_again(operator, monkeypatch):
    with monkeypatch.context() as wrong:
        wrong.setenv("BIGQUERY_SOURCE_TABLE", "nowhere")
        operator.run()

    assert operator.sense(after=minutes(90)) == []


def test_what_dagster_or_a_person_runs_again_is_left_to_them(operator):
    operator.run_without_bigquery(["daily_sqp_data"], **{"dagster/will_retry": "true"})
    first = operator.run_without_bigquery(["asin_performance_data"])
    operator.run_without_bigquery(
        ["asin_performance_data"], **{"dagster/parent_run_id": first.run_id}
    )

    requests = operator.sense(after=minutes(2))

    # Only the re-run by hand itself, which failed too, is nobody else's.
    assert [requested_tables(request) for request in requests] == [{"asin_performance_data"}]
    assert requests[0].tags["dagster/parent_run_id"] != first.run_id


def test_what_can_do_without_a_failed_parent_is_run_at_once(operator, environment):
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
    operator.run()

    (request,) = operator.sense()

    assert requested_tables(request) == SUMMARIES
    assert operator.launch(request).success
    log = rows(url, "SELECT status, error_message FROM sqp.refresh_audit_log ORDER BY id DESC")
    for status, message in log[: len(SUMMARIES)]:
        assert status == "warning"
        assert message.startswith("asin_performance_data, which it needs where it can, failed")


def test_a_run_that_died_is_closed_and_run_again(operator, environment, own_instance):
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

    assert operator.sense() == []
    assert rows(url, "SELECT status FROM sqp.refresh_audit_log") == [("failed",)]
    assert operator.sense(after=minutes(0.5)) == []
    (request,) = operator.sense(after=minutes(1.5))

    assert requested_tables(request) == set(TABLES)
    closed = own_instance.get_run_by_id(run.run_id)
    assert closed
    assert closed.status == dg.DagsterRunStatus.FAILURE


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


def test_the_last_tick_is_that_of_the_cron(environment, monkeypatch):
    assert sensors.last_tick(environment, datetime(2026, 3, 1, 1, 59, tzinfo=UTC)) == datetime(
        2026, 2, 28, 2, tzinfo=UTC
    )
