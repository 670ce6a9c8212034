"""Test the way from the outbox to receivers: each alert arrives, whichever process is killed."""

import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import standardwebhooks

from sqp_refresh.alerts import notification, webhook
from sqp_refresh.alerts.outbox import MAX_ATTEMPTS, PAUSES_S
from sqp_refresh_tests.alerts.outboxes import TABLE, Outbox
from sqp_refresh_tests.alerts.receiver import Receiver
from sqp_refresh_tests.helpers.database import execute, rows

MODULE = "sqp_refresh_tests.alerts.outboxes"
COMMIT_AND_KILL = f"""
import os, signal
from {MODULE} import Outbox
Outbox(os.environ["DATABASE_URL"]).fail()
os.kill(os.getpid(), signal.SIGKILL)
"""
SEND_AND_KILL = f"""
import os, signal
from sqp_refresh.alerts import outbox
from {MODULE} import Outbox
outbox.settle = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
Outbox(os.environ["DATABASE_URL"]).deliver()
"""


@pytest.fixture
def subscribed(outbox: Outbox, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """Return an outbox whose receiver accepts everything."""
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", receiver.url())
    return outbox


def run_until_killed(program: str) -> None:
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stderr


def test_an_attempt_is_dated_by_the_clock_of_postgres(subscribed, receiver, monkeypatch):
    subscribed.fail()
    monkeypatch.setattr("time.time", lambda: 0.0)

    subscribed.deliver()

    (request,) = receiver.requests
    ((now,),) = rows(subscribed.url, "SELECT extract(epoch FROM now())::integer")
    # A receiver refuses what is minutes old.
    assert abs(int(request.headers["webhook-timestamp"]) - now) < 60


# -- at least once, and once where the receiver remembers ------------------------------------------


def test_an_alert_survives_a_kill_between_the_commit_and_its_delivery(subscribed, receiver):
    run_until_killed(COMMIT_AND_KILL)
    assert receiver.requests == []

    subscribed.deliver()
    subscribed.deliver()

    (request,) = receiver.requests
    assert request.alert["event"] == "refresh.failed"
    assert request.alert["table_name"] == TABLE
    assert subscribed.deliveries() == [("delivered", 1, 204, None)]


def test_an_alert_whose_sender_died_is_sent_again_under_the_same_id(subscribed, receiver):
    subscribed.fail()

    run_until_killed(SEND_AND_KILL)
    subscribed.deliver()

    assert len(receiver.requests) == 2
    assert len(set(receiver.ids)) == len(receiver.processed) == 1
    assert subscribed.deliveries("event_id, status") == [(receiver.ids[0], "delivered")]


def test_two_daemons_never_send_the_same_alert(subscribed, receiver):
    for number in range(12):
        subscribed.fail(f"run {number}")

    with ThreadPoolExecutor(3) as daemons:
        list(daemons.map(lambda _: subscribed.deliver(), range(3)))

    assert Counter(receiver.ids) == Counter(
        {event_id: 1 for (event_id,) in subscribed.deliveries("event_id")}
    )
    assert len(receiver.ids) == 12


def test_an_alert_that_is_being_sent_is_left_to_its_sender(subscribed, receiver):
    subscribed.fail()
    with psycopg.connect(subscribed.url) as other:
        other.execute("SELECT FROM sqp.webhook_deliveries FOR UPDATE")
        assert subscribed.deliver() == []

    assert len(subscribed.deliver()) == 1


# -- what fails ------------------------------------------------------------------------------------


def test_what_fails_is_tried_again_later_each_time_and_then_given_up(outbox, receiver, monkeypatch):
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", receiver.url("/500"))
    outbox.fail()
    clock = "extract(epoch FROM clock_timestamp())::float"
    for number, pause in enumerate((*PAUSES_S, None), start=1):
        ((before,),) = rows(outbox.url, f"SELECT {clock}")
        outbox.deliver()
        assert outbox.deliver() == []
        ((status, attempts, due, after),) = outbox.deliveries(
            f"status, attempts, extract(epoch FROM next_retry_at)::float, {clock}"
        )
        assert (status, attempts) == ("pending" if pause else "exhausted", number)
        if pause:
            assert before + pause <= due <= after + 1.2 * pause
        outbox.make_due()

    assert outbox.deliver() == []
    assert outbox.deliveries() == [("exhausted", MAX_ATTEMPTS, 500, "answered 500")]
    assert len(receiver.requests) == MAX_ATTEMPTS
    assert len(set(receiver.ids)) == 1


def test_a_receiver_that_is_back_gets_the_alerts_that_it_missed(subscribed, receiver, monkeypatch):
    subscribed.fail()
    with monkeypatch.context() as unreachable:
        unreachable.setenv("REFRESH_WEBHOOK_URL", "http://127.0.0.1:1/")
        subscribed.deliver()
    assert subscribed.deliveries("status, response_status") == [("pending", None)]
    subscribed.make_due()

    subscribed.deliver()

    assert subscribed.deliveries() == [("delivered", 2, 204, None)]


def test_a_registered_receiver_has_its_own_number_of_attempts(outbox, receiver):
    outbox.subscribe("impatient", receiver.url("/500"), max_attempts=2)
    outbox.fail()

    for _ in range(3):
        outbox.deliver()
        outbox.make_due()

    assert outbox.deliveries() == [("exhausted", 2, 500, "answered 500")]


def test_a_receiver_that_wants_no_more_gets_no_further_attempt(outbox, receiver):
    outbox.subscribe("gone", receiver.url("/410"))
    outbox.fail()

    (attempt,) = outbox.deliver()

    assert str(attempt) == (
        "refresh.failed to gone: answered 410: it wants no more of this; it is given up"
    )
    assert outbox.deliveries("status") == [("exhausted",)]


def test_a_receiver_that_never_answers_costs_one_attempt_and_holds_nobody_up(
    subscribed, receiver, monkeypatch
):
    monkeypatch.setattr(webhook, "DEADLINE_S", 0.3)
    subscribed.subscribe("silent", receiver.url("/never"))
    for number in range(3):
        subscribed.fail(f"run {number}")

    subscribed.deliver()

    assert Counter(request.path for request in receiver.requests) == {"/204": 3, "/never": 1}
    by_status = "SELECT status, receiver, count(*) FROM sqp.webhook_deliveries GROUP BY 1, 2"
    assert sorted(rows(subscribed.url, by_status)) == [
        ("delivered", "REFRESH_WEBHOOK_URL", 3),
        ("pending", "silent", 3),
    ]


@pytest.mark.parametrize(
    "url", ["https://host.example:port/", "https://x y/", "http://", "https://\N{SNOWMAN}.example/"]
)
def test_an_address_that_cannot_be_one_holds_nobody_up(subscribed, receiver, url):
    subscribed.subscribe("odd", url)
    subscribed.fail()

    subscribed.deliver()

    assert len(receiver.requests) == 1
    ((error, attempts),) = rows(
        subscribed.url,
        "SELECT last_error, attempts FROM sqp.webhook_deliveries WHERE receiver = 'odd'",
    )
    assert attempts == 1
    assert error.startswith(("could not be sent to (", "cannot be reached: "))


def test_a_receiver_that_was_disabled_meanwhile_gets_nothing(subscribed, receiver, monkeypatch):
    subscribed.subscribe("registered", receiver.url())
    subscribed.fail()
    execute(subscribed.url, "UPDATE sqp.webhook_configs SET is_enabled = false")
    monkeypatch.delenv("REFRESH_WEBHOOK_URL")

    subscribed.deliver()

    assert receiver.requests == []
    assert {error for (error,) in subscribed.deliveries("last_error")} == {
        "is disabled, or no longer there"
    }


# -- other services --------------------------------------------------------------------------------


def service(receiver: Receiver, path: str) -> str:
    return f"json://127.0.0.1:{receiver.port}{path}"


def test_a_service_gets_the_same_events_from_the_same_outbox(outbox, receiver, monkeypatch):
    urls = service(receiver, "/accepting"), service(receiver, "/500")
    monkeypatch.setenv("REFRESH_NOTIFY_URLS", ", ".join(urls))
    audit_log_id = outbox.fail()

    outbox.deliver()

    first, second = sorted(receiver.requests, key=lambda request: request.path, reverse=True)
    assert (first.path, second.path) == ("/accepting", "/500")
    assert first.alert["title"] == f"sqp_refresh: the refresh of {TABLE} failed"
    assert first.alert["message"].startswith(
        f"BigQuery is away\nnext: sqp-refresh refresh --table {TABLE}\n"
        f"audit_log_id {audit_log_id}, run r\n"
    )
    assert first.alert["type"] == "failure"
    assert outbox.deliveries("receiver, status, response_status, last_error") == [
        ("json", "delivered", None, None),
        ("json 2", "pending", 500, "answered 500"),
    ]


def test_what_a_person_reads_has_the_weeks_the_next_step_and_the_minute():
    payload = {
        "event": "refresh.failed",
        "table_name": "a",
        "error_message": "the week of 2025-08-10 is rejected",
        "audit_log_id": None,
        "run_id": None,
        "occurred_at": "2025-08-20T02:00:07.120394+00:00",
        "tables": ["a", "b"],
        "weeks": ["2025-08-10"],
        "command": "sqp-refresh quarantine list",
        "run_url": "https://dagster.example/runs/r",
        "dataset": "agency_85",
    }

    assert notification.format_message(payload)[1].splitlines() == [
        "the week of 2025-08-10 is rejected",
        "also b",
        "weeks: 2025-08-10",
        "next: sqp-refresh quarantine list",
        "https://dagster.example/runs/r",
        "dataset agency_85",
        "2025-08-20 02:00 UTC",
    ]


def test_a_receiver_with_secrets_of_its_own_is_signed_for_with_those(
    subscribed, receiver, monkeypatch
):
    monkeypatch.setenv("REFRESH_WEBHOOK_SECRET", "everybody's")
    monkeypatch.setenv("PAGER_SECRET", "the pager's")
    subscribed.subscribe("pager", receiver.url("/pager"))
    names = "UPDATE sqp.webhook_configs SET secret_names = '{}'"
    execute(subscribed.url, names.format("{PAGER_SECRET,PAGER_SECRET_2}"))
    subscribed.fail()

    subscribed.deliver()
    assert [request.path for request in receiver.requests] == ["/204"]
    ((error,),) = rows(
        subscribed.url, "SELECT last_error FROM sqp.webhook_deliveries WHERE receiver = 'pager'"
    )
    assert error.startswith("PAGER_SECRET_2 is not set")

    monkeypatch.setenv("PAGER_SECRET_2", "the pager's next")
    subscribed.make_due()
    subscribed.deliver()
    request = receiver.requests[-1]
    for key in (b"the pager's", b"the pager's next"):
        assert standardwebhooks.Webhook(key).verify(request.body, request.headers)
    with pytest.raises(psycopg.errors.CheckViolation):
        execute(subscribed.url, names.format("{DATABASE_URL}"))


def test_an_address_that_apprise_does_not_know_is_given_up(outbox, monkeypatch):
    monkeypatch.setenv("REFRESH_NOTIFY_URLS", "nosuchservice://token")
    outbox.fail()

    outbox.deliver()

    assert outbox.deliveries("status, last_error") == [
        ("exhausted", "is not an address that Apprise understands")
    ]


@pytest.mark.parametrize("event", list(notification._SUBJECT))
def test_every_event_has_a_title(event):
    nothing = dict.fromkeys(("error_message", "audit_log_id", "run_id"))
    at = "2025-08-20T02:00:07+00:00"
    payload = {"event": event, "table_name": "t", "occurred_at": at, **nothing}

    title, body = notification.format_message(payload)

    assert "t" in title.removeprefix("sqp_refresh: ").split()
    assert body == "2025-08-20 02:00 UTC"


# -- secrets ---------------------------------------------------------------------------------------

SECRETS = (
    "hunter2-of-the-url",
    "hunter2-of-the-query",
    "hunter2-that-signs",
    "hunter2-of-apprise",
)


@pytest.mark.parametrize("status", ["204", "500", "302", "never"])
def test_no_secret_reaches_a_table_or_a_log(outbox, receiver, monkeypatch, caplog, capfd, status):
    url, query, signing_key, apprise = SECRETS
    monkeypatch.setattr(webhook, "DEADLINE_S", 0.3)
    host = f"127.0.0.1:{receiver.port}"
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", f"http://u:{url}@{host}/{status}?token={query}")
    monkeypatch.setenv("REFRESH_WEBHOOK_SECRET", signing_key)
    monkeypatch.setenv("REFRESH_NOTIFY_URLS", f"json://u:p@{host}/{apprise}/{status}?rto=0.3")
    caplog.set_level("DEBUG")
    outbox.fail()

    outbox.deliver()

    assert len(receiver.requests) == 2
    seen = everything_in(outbox.url) + caplog.text + "".join(capfd.readouterr())
    assert "refresh.failed" in seen
    for secret in SECRETS:
        assert secret not in seen


def everything_in(url: str) -> str:
    """Return every row of every table of the schema, as text."""
    tables = rows(
        url,
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND"
        " relnamespace = 'sqp'::regnamespace",
    )
    return "\n".join(str(rows(url, f"SELECT * FROM {table}")) for (table,) in tables)
