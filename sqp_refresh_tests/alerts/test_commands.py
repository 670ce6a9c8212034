"""Test `sqp-refresh alerts` as an operator uses it."""

import json
import re
from datetime import date, timedelta

import pytest

from sqp_refresh_tests.alerts.outboxes import TABLE, Outbox
from sqp_refresh_tests.helpers.commands import one_line, output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute

TOKEN = "hunter2-of-the-url"


def test_a_test_reaches_everybody_and_says_who_did_not_take_it(outbox, receiver, monkeypatch):
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", receiver.url(f"/204?token={TOKEN}"))
    monkeypatch.setenv("REFRESH_NOTIFY_URLS", f"json://127.0.0.1:{receiver.port}/{TOKEN}")
    outbox.subscribe("broken", receiver.url(f"/{TOKEN}/500"), events="'{refresh.completed}'")
    outbox.subscribe("off", receiver.url(), enabled=False)

    done = sqp_refresh("alerts", "test")

    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "!!  broken: answered 500",
        "ok  REFRESH_WEBHOOK_URL: accepted",
        "ok  json: accepted",
        "--  webhooks: not signed; set REFRESH_WEBHOOK_SECRET to sign them",
    ]
    assert len(receiver.requests) == 3
    posted = receiver.requests[0].alert
    assert posted["event"] == "alerts.test"
    assert (posted["table_name"], posted["audit_log_id"]) == ("alerts", None)
    assert posted["error_message"] == "this is a test; nothing is wrong"
    assert outbox.deliveries() == []


def test_a_test_that_all_accept_succeeds(outbox, receiver, monkeypatch):
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", receiver.url())
    monkeypatch.setenv("REFRESH_WEBHOOK_SECRET", "secret")

    assert output("alerts", "test") == "ok  REFRESH_WEBHOOK_URL: accepted"


def test_a_test_of_nobody_says_how_to_name_somebody(outbox):
    assert "nobody receives alerts; set REFRESH_WEBHOOK_URL" in one_line(
        sqp_refresh("alerts", "test")
    )


@pytest.fixture
def undelivered(outbox: Outbox, receiver, monkeypatch) -> Outbox:
    """Return an outbox with one alert that is tried again, and one that was given up."""
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", receiver.url("/500"))
    outbox.subscribe("gone", receiver.url("/410"))
    outbox.fail()
    outbox.deliver()
    return outbox


def test_the_list_shows_what_was_not_delivered(undelivered):
    given_up, pending = output("alerts", "list").splitlines()

    assert given_up.endswith(
        f" UTC refresh.failed of {TABLE} to gone: answered 410: it wants no more of this "
        "(attempts: 1), given up"
    )
    assert f"{TABLE} to REFRESH_WEBHOOK_URL: answered 500 (attempts: 1), tried again at" in pending


def test_the_list_is_there_for_programs_too(undelivered):
    given_up, pending = json.loads(output("alerts", "list", "--json"))

    assert (given_up["status"], given_up["next_attempt_at"]) == ("exhausted", None)
    assert given_up["response_status"] == 410
    assert (pending["status"], pending["last_error"]) == ("pending", "answered 500")
    assert pending["id"] == given_up["id"]


def test_an_empty_list_says_so(outbox):
    assert output("alerts", "list") == "every alert was delivered"
    assert json.loads(output("alerts", "list", "--json")) == []


def test_what_was_not_delivered_is_sent_again_also_what_was_given_up(
    undelivered, receiver, monkeypatch
):
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", receiver.url("/204"))
    before = len(receiver.requests)

    assert output("alerts", "retry") == "2 alerts are due now"

    undelivered.deliver()
    assert len(receiver.requests) == before + 2
    (given_up,) = json.loads(output("alerts", "list", "--json"))
    assert (given_up["receiver"], given_up["attempts"]) == ("gone", 1)


# -- mutes -----------------------------------------------------------------------------------------


def test_what_is_muted_is_shown_until_it_is_unmuted(outbox):
    until = f"{date.today() + timedelta(days=3)}"
    table = ("--table", "monthly_summary", "--week", "2025-08-20")

    muted = output("alerts", "mute", *table, "--until", until, "--reason", "ticket 4711")
    assert output("alerts", "mute", "--week", "2025-08-20", "--until", until).startswith(
        f"muted the week of 2025-08-17 in every table until {until} (by "
    )

    assert muted.startswith(
        f"muted the week of 2025-08-01 in monthly_summary until {until}: ticket 4711 (by "
    )
    explained = json.loads(output("explain", "--json"))
    assert [mute["table"] for mute in explained["mutes"]] == [None, "monthly_summary"]
    status = sqp_refresh("status").stdout
    assert f"muted: the week of 2025-08-01 in monthly_summary until {until}: ticket" in status

    assert output("alerts", "unmute", *table) == "unmuted the week of 2025-08-01 in monthly_summary"
    line = one_line(sqp_refresh("alerts", "unmute", *table))
    assert "what is: the week of 2025-08-17 in every table" in line
    assert output("alerts", "unmute") == "unmuted the week of 2025-08-17 in every table"


def test_a_mute_of_nothing_or_of_yesterday_is_refused(outbox):
    assert "name what to mute" in one_line(sqp_refresh("alerts", "mute", "--until", "2099-01-01"))
    late = sqp_refresh("alerts", "mute", "--table", TABLE, "--until", "2025-08-20")
    assert "--until 2025-08-20 is over" in one_line(late)


# -- explain ---------------------------------------------------------------------------------------


def test_what_is_not_as_it_comes_is_explained_without_a_secret(outbox, receiver, monkeypatch):
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", receiver.url(f"/204?token={TOKEN}"))
    monkeypatch.setenv("REFRESH_HEARTBEAT_URL", receiver.url(f"/{TOKEN}"))
    monkeypatch.setenv("REFRESH_LOOKBACK_WEEKS", "5")
    outbox.subscribe("pager", receiver.url(f"/{TOKEN}"), events="'{refresh.failed}'")
    execute(
        outbox.url,
        "UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name = 'weekly_summary';"
        "UPDATE sqp.refresh_config SET custom_sync_params = '{\"batch_size\": 7}'"
        " WHERE table_name = 'daily_sqp_data';"
        "INSERT INTO sqp.refresh_pins (table_name, period_start, reason)"
        " VALUES ('daily_sqp_data', '2025-08-10', 'a bad export')",
    )

    text = output("explain")

    assert TOKEN not in text + output("explain", "--json")
    assert outbox.url not in text
    for line in (
        "  REFRESH_LOOKBACK_WEEKS = 5",
        "  REFRESH_WEBHOOK_URL = (secret)",
        "  daily_sqp_data: batch_size = 7",
        "  daily_sqp_data in 2025-08-10: a bad export (by postgres, ",
        "  pager: refresh.failed",
        "muted alerts: none",
    ):
        assert f"\n{line}" in text
    assert re.search(r"  weekly_summary: switched off by postgres since \d{4}-\d\d-\d\d ", text)
    assert "REFRESH_CRON" not in text
