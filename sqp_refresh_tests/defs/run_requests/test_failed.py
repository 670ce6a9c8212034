"""What the sensor requests after runs that failed, or whose process died."""

import json
import os
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin as CodeLocation
from dagster._core.remote_origin import RemoteJobOrigin, RemoteRepositoryOrigin

from sqp_refresh.control import audit_log
from sqp_refresh.defs import sensors
from sqp_refresh.defs.partitions import AS_OF_TAG, range_tags
from sqp_refresh.defs.run_requests.code_location import is_of
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.tables import DAILY_SQP_DATA, TABLES
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.prepare import prepare
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh_tests.defs.run_requests.operator import FORCED, Operator, requested_tables
from sqp_refresh_tests.helpers.code_location import code_location
from sqp_refresh_tests.helpers.commands import sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, WEEKS, three_weeks

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
        code_location().resolve_job_def("daily_refresh"),
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


def test_a_re_run_has_the_whole_configuration_of_its_run_and_the_tags_of_people(operator):
    operator.run_without_bigquery(
        ["daily_sqp_data"],
        FORCED,
        **{"team": "ads", "dagster/priority": "3", "dagster/schedule_name": "nightly"},
    )

    (request,) = operator.sense(after=minutes(1.5))

    assert request.run_config == FORCED
    assert (request.tags["team"], request.tags["dagster/priority"]) == ("ads", "3")
    assert not request.tags.keys() & {"dagster/schedule_name", AS_OF_TAG}
    operator.run_without_bigquery(requested_tables(request), request.run_config, **request.tags)
    (again,) = operator.sense(after=minutes(5.5))
    assert (again.run_config, again.tags["team"]) == (FORCED, "ads")
    assert operator.launch(again).success


def test_a_forced_run_that_died_after_a_week_is_run_again_forced_for_what_is_left(
    operator, environment, own_instance
):
    url = environment.database_url
    refresh_all(environment)
    run = started_run(own_instance, run_config=FORCED)
    source = BigQuerySource(environment, DAILY_SQP_DATA, WEEKS)
    with connect(url) as session:
        # It has refreshed one table, and has published one week of three of another.
        for table in ("search_query_performance", "asin_performance_data"):
            execute(url, done_row(table, run.run_id))
        prepare(session, source, RefreshRequest(run.run_id, force=True))
    execute(
        url,
        "UPDATE sqp.refresh_checkpoints SET checkpoint_data = checkpoint_data"
        f""" || '{{"published": ["{FIRST}"]}}' WHERE status = 'active'""",
    )
    execute(url, open_row("daily_sqp_data", run.run_id))
    assert operator.sense() == []

    (request,) = operator.sense(after=minutes(1.5))

    assert requested_tables(request) == TABLES.keys() - {
        "search_query_performance",
        "asin_performance_data",
    }
    assert operator.launch(request).success
    last = "SELECT sync_metadata FROM sqp.refresh_audit_log WHERE table_name = 'daily_sqp_data'"
    ((metadata,),) = rows(url, f"{last} ORDER BY id DESC LIMIT 1")
    assert metadata["forced"] is True
    assert metadata["weeks"] == [str(MIDDLE), str(LAST)]


def test_what_a_person_has_interrupted_at_the_terminal_stays_interrupted(
    instance_on_disk, environment, source, monkeypatch
):
    source.write(three_weeks())
    operator = Operator(instance_on_disk, monkeypatch)
    running = "SELECT FROM sqp.refresh_audit_log WHERE status = 'running'"

    def press_ctrl_c() -> None:
        while not rows(environment.database_url, running):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    terminal = threading.Thread(target=press_ctrl_c)
    terminal.start()
    done = sqp_refresh("refresh", "--from", str(FIRST), "--to", str(LAST))
    terminal.join()

    assert done.returncode == 130
    (run,) = instance_on_disk.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED
    assert rows(environment.database_url, running) == []
    assert operator.sense(after=minutes(1.5)) == operator.sense(after=minutes(30)) == []


def test_an_interruption_that_dagster_takes_for_a_failure_stays_too(
    operator, environment, own_instance
):
    run = started_run(own_instance)
    execute(environment.database_url, interrupted_row("daily_sqp_data", run.run_id))
    own_instance.report_run_failed(run)

    assert operator.sense(after=minutes(1.5)) == []


def test_a_run_that_died_while_a_person_had_it_canceled_stays_canceled(
    operator, environment, own_instance
):
    url = environment.database_url
    hangs, failed = started_run(own_instance), started_run(own_instance)
    for run in (hangs, failed):
        execute(url, open_row("daily_sqp_data", run.run_id))
        own_instance.report_run_canceling(run)
    own_instance.report_run_failed(failed)

    assert operator.sense(after=minutes(1.5)) == operator.sense(after=minutes(3)) == []

    closed = own_instance.get_run_by_id(hangs.run_id)
    assert closed
    assert closed.status == dg.DagsterRunStatus.CANCELED


def test_a_run_that_ended_with_its_machine_or_took_too_long_is_run_again(
    operator, environment, own_instance
):
    elsewhere = RemoteRepositoryOrigin(CodeLocation("127.0.0.1", 4000), "__repository__")
    origin = RemoteJobOrigin(elsewhere, "daily_refresh")
    run = started_run(own_instance, remote_job_origin=origin)
    execute(environment.database_url, interrupted_row("daily_sqp_data", run.run_id))
    own_instance.report_run_canceling(
        run, "Canceling due to exceeding maximum runtime of 9 seconds"
    )
    own_instance.report_run_failed(run)

    (request,) = operator.sense(after=minutes(1.5))

    assert requested_tables(request) == set(TABLES)


def started_run(instance: dg.DagsterInstance, **others: Any) -> dg.DagsterRun:
    """Return a run of the three weeks that has started, and of which nothing more is heard."""
    job, tags = code_location().resolve_job_def("daily_refresh"), range_tags(str(FIRST), str(LAST))
    return instance.create_run_for_job(job, tags=tags, status=dg.DagsterRunStatus.STARTED, **others)


def open_row(table: str, run_id: str) -> str:
    metadata = json.dumps({"run_id": run_id})
    return (
        "INSERT INTO sqp.refresh_audit_log (table_name, sync_metadata)"
        f" VALUES ('{table}', '{metadata}')"
    )


def done_row(table: str, run_id: str) -> str:
    return closed_row(table, run_id, "success", {})


def interrupted_row(table: str, run_id: str) -> str:
    failure = audit_log.describe_failure(dg.DagsterExecutionInterruptedError())
    return closed_row(table, run_id, failure["status"], failure["error_details"].obj)


def closed_row(table: str, run_id: str, status: str, details: dict[str, Any]) -> str:
    return (
        "INSERT INTO sqp.refresh_audit_log"
        " (table_name, status, refresh_completed_at, error_details, sync_metadata) VALUES"
        f" ('{table}', '{status}', now(), '{json.dumps(details)}',"
        f""" '{{"run_id": "{run_id}"}}')"""
    )


def test_the_runs_of_another_agency_s_code_location_are_left_to_it(own_instance):
    job = code_location().resolve_job_def("daily_refresh")
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
