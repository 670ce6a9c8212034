"""The sensor that sends alerts, and the re-runs that are no cause of their own."""

from datetime import datetime, timedelta

import dagster as dg
import pytest

from sqp_refresh.definitions import defs
from sqp_refresh_tests.alerts.outboxes import TABLE, Outbox
from sqp_refresh_tests.alerts.receiver import receiving
from sqp_refresh_tests.helpers.database import execute


@pytest.fixture
def receiver(environment, monkeypatch):
    """A receiver that REFRESH_WEBHOOK_URL names."""
    monkeypatch.setenv("REFRESH_WEBHOOK_ALLOW_PRIVATE", "true")
    with receiving() as receiver:
        monkeypatch.setenv("REFRESH_WEBHOOK_URL", receiver.url())
        yield receiver


def sense(instance: dg.DagsterInstance):
    sensor = defs().resolve_sensor_def("alert_delivery")
    return sensor.evaluate_tick(dg.build_sensor_context(instance=instance, definitions=defs()))


def test_the_sensor_sends_what_is_due_and_requests_no_run(instance, environment, receiver):
    Outbox(environment.database_url).fail()

    first, second = sense(instance), sense(instance)

    assert (first.skip_message, second.skip_message) == (
        "alerts delivered: 1",
        "alerts delivered: 0",
    )
    assert not first.run_requests
    assert [request.alert["event"] for request in receiver.requests] == ["refresh.failed"]
    sensor = defs().resolve_sensor_def("alert_delivery")
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30


def test_the_sensor_finds_tables_that_a_night_has_passed_by(instance, environment, receiver):
    execute(
        environment.database_url,
        f"""
        UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 hour';
        UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '3 days'
        WHERE table_name = '{TABLE}';
        """,
    )

    sense(instance)
    sense(instance)

    (alert,) = receiver.processed
    assert (alert["event"], alert["table_name"]) == ("refresh.overdue", TABLE)
    assert len(receiver.requests) == 1


def test_the_sensor_calls_the_heartbeat_after_each_night_and_else_every_five_minutes(
    instance, environment, receiver, monkeypatch
):
    monkeypatch.delenv("REFRESH_WEBHOOK_URL")
    monkeypatch.setenv("REFRESH_HEARTBEAT_URL", receiver.url("/ping"))
    outbox, cursor = Outbox(environment.database_url), ""
    sensor = defs().resolve_sensor_def("alert_delivery")
    execute(
        environment.database_url,
        "UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 hour'",
    )

    def paths() -> list[str]:
        nonlocal cursor
        receiver.requests.clear()
        context = dg.build_sensor_context(instance=instance, definitions=defs(), cursor=cursor)
        cursor = sensor.evaluate_tick(context).cursor
        return [f"{request.method} {request.path}" for request in receiver.requests]

    assert (paths(), paths()) == (["GET /ping"], [])
    outbox.fail()
    assert (paths(), paths()) == (["GET /ping/fail"], [])
    outbox.succeed()
    assert (paths(), paths()) == (["GET /ping"], [])
    made_at, _, state = cursor.partition(" ")
    cursor = f"{datetime.fromisoformat(made_at) - timedelta(minutes=5)} {state}".replace(
        " ", "T", 1
    )
    assert paths() == ["GET /ping"]


def test_where_postgres_is_away_the_sensor_waits(instance, environment, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u@127.0.0.1:1/d")

    assert "check that it is up" in str(sense(instance).skip_message)


def test_a_run_and_its_re_run_are_one_cause(instance, environment, receiver, monkeypatch):
    monkeypatch.setenv("BIGQUERY_SOURCE_TABLE", "nowhere")
    job = defs().resolve_job_def("daily_refresh")
    arguments: dict = {
        "instance": instance,
        "asset_selection": [dg.AssetKey(["sqp", TABLE])],
        "raise_on_error": False,
    }
    night = job.execute_in_process(**arguments)
    job.execute_in_process(**arguments, tags={"dagster/root_run_id": night.run_id})

    outbox = Outbox(environment.database_url)
    assert outbox.deliveries("payload->>'run_id'") == [(night.run_id,)]
