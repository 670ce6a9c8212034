"""Test what refreshes write to the outbox: in the same transaction, and once for each cause."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh.alerts import rules
from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.control import audit_log
from sqp_refresh.errors import NotFound, Rejected
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.tables import DAILY_SQP_DATA, TABLES
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh_tests.alerts.outboxes import SUCCESS, TABLE, Outbox
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.weeks import WEEKS, three_weeks

NOWHERE = "https://receiver.example/hook"


@pytest.fixture
def subscribed(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """Return an outbox to which one receiver subscribes."""
    monkeypatch.setenv("REFRESH_WEBHOOK_URL", NOWHERE)
    return outbox


# -- with the refresh ------------------------------------------------------------------------------


def test_a_refresh_that_fails_is_one_alert_in_the_transaction_that_closes_it(
    environment, subscribed
):
    missing = environment.model_copy(update={"BIGQUERY_SOURCE_TABLE": "nowhere"})
    for _ in range(2):
        with pytest.raises(NotFound):
            refresh(
                subscribed.url, BigQuerySource(missing, DAILY_SQP_DATA, WEEKS), RefreshRequest("r")
            )

    ((event, payload, status, delivery),) = subscribed.deliveries("event, payload, status, xmin")
    ((audit_log_id, message, at, run), _) = rows(
        subscribed.url,
        "SELECT id, error_message, refresh_completed_at, xmin FROM sqp.refresh_audit_log"
        " ORDER BY id",
    )
    assert (event, status) == ("refresh.failed", "pending")
    assert payload == {
        "event": "refresh.failed",
        "severity": "high",
        "table_name": TABLE,
        "error_message": message,
        "audit_log_id": audit_log_id,
        "run_id": "r",
        "occurred_at": payload["occurred_at"],
    }
    assert datetime.fromisoformat(payload["occurred_at"]) == at
    assert delivery == run


def test_a_refresh_over_its_budget_is_one_alert_while_it_goes_on(environment, source, subscribed):
    source.write(three_weeks())

    refresh(
        subscribed.url,
        BigQuerySource(environment, DAILY_SQP_DATA, WEEKS),
        RefreshRequest("r", budget_ms=1),
    )

    ((payload,),) = subscribed.deliveries("payload")
    assert payload["event"] == "refresh.warning"
    assert payload["error_message"].endswith("REFRESH_TIMEOUT_WARNING_MS allows; it goes on")


def test_a_table_that_its_checks_fail_is_one_alert_for_its_run(environment, source, subscribed):
    source.write(three_weeks())
    refresh(subscribed.url, BigQuerySource(environment, DAILY_SQP_DATA, WEEKS), RefreshRequest("r"))
    execute(subscribed.url, f"DELETE FROM sqp.{TABLE} WHERE asin = 'B000000001'")

    for only in ((), ("row_count_matches_source",), ("sums_match_source",)):
        with connect(subscribed.url) as session, session.transaction():
            run_checks(session, DAILY_SQP_DATA, None, today=date(2025, 8, 20), only=only)

    ((payload,),) = subscribed.deliveries("payload")
    assert (payload["event"], payload["run_id"]) == ("quality.failed", "r")
    assert payload["error_message"].startswith("row_count is 1 in 2025-07-27 where the source says")
    assert payload["error_message"].endswith(" more")


# -- once for one cause ----------------------------------------------------------------------------


def test_what_is_rolled_back_is_no_alert(subscribed):
    with (
        pytest.raises(ZeroDivisionError),
        connect(subscribed.url) as session,
        session.transaction(),
    ):
        audit_log_id = audit_log.begin(session, DAILY_SQP_DATA, {"run_id": "r"})
        audit_log.close(session, audit_log_id, audit_log.describe_failure(NotFound("gone")), {})
        raise ZeroDivisionError

    assert subscribed.events() == []
    assert rows(subscribed.url, "SELECT FROM sqp.refresh_audit_log") == []


def test_reruns_that_fail_for_the_same_reason_are_one_alert(subscribed):
    subscribed.fail("night")
    subscribed.fail("first re-run", root="night")
    subscribed.fail("second re-run", root="night")
    assert subscribed.events() == ["refresh.failed"]

    subscribed.fail("third re-run", root="night", error=Rejected("the week is rejected"))
    subscribed.fail("another night")
    assert subscribed.events() == ["refresh.failed"] * 3


OUTCOMES = {
    "failed": audit_log.describe_failure(NotFound("gone")),
    "warning": SUCCESS | {"status": "warning", "error_message": "x is new"},
    "success": SUCCESS,
}


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(runs=st.lists(st.tuples(st.sampled_from(list(OUTCOMES)), st.sampled_from("ab")), max_size=8))
def test_however_runs_end_each_cause_is_one_alert(subscribed, runs):
    with connect(subscribed.url) as session:
        for status, root in runs:
            audit_log_id = audit_log.begin(
                session, DAILY_SQP_DATA, {"run_id": "r", "root_run_id": root}
            )
            audit_log.close(session, audit_log_id, OUTCOMES[status], {})
        events = session.fetch_all("SELECT event FROM sqp.webhook_deliveries")
        counts = Counter(event for (event,) in events)
        session.rollback()

    statuses = [status for status, _ in runs]
    assert counts == Counter(
        {
            "refresh.failed": len({root for status, root in runs if status == "failed"}),
            "refresh.warning": len({root for status, root in runs if status == "warning"}),
            "refresh.recovered": sum(
                before == "failed" != after for before, after in pairwise(statuses)
            ),
        }
    )


def test_a_recovery_is_one_alert(subscribed):
    subscribed.succeed()
    subscribed.fail("one")
    subscribed.fail("two", root="one")
    subscribed.succeed()
    subscribed.succeed()

    assert subscribed.events() == ["refresh.failed", "refresh.recovered"]
    *_, (message,) = subscribed.deliveries("payload->>'error_message'")
    assert message == "it was refreshed, after it had failed: BigQuery is away"


def test_a_warning_is_another_alert_only_where_its_message_differs(subscribed):
    for run, message in (("a", "x is new"), ("b", "x is new"), ("b", "x is new; y is gone")):
        subscribed.end(run, SUCCESS | {"status": "warning", "error_message": message}, root="a")

    assert subscribed.events() == ["refresh.warning"] * 2


def test_a_run_whose_process_was_lost_is_an_alert(subscribed):
    with connect(subscribed.url) as session, session.transaction():
        audit_log.begin(session, DAILY_SQP_DATA, {"run_id": "r"})

    for _ in range(2):
        with connect(subscribed.url) as session, session.transaction():
            audit_log.close_lost_runs(session)

    ((payload,),) = subscribed.deliveries("payload")
    assert (payload["event"], payload["run_id"]) == ("refresh.failed", "r")
    assert payload["error_message"].startswith("its process ended without a word")


def test_a_row_of_an_earlier_release_is_an_alert_too(subscribed):
    execute(subscribed.url, f"INSERT INTO sqp.refresh_audit_log (table_name) VALUES ('{TABLE}')")

    with connect(subscribed.url) as session, session.transaction():
        audit_log.close_lost_runs(session)

    assert subscribed.events() == ["refresh.failed"]


# -- overdue ---------------------------------------------------------------------------------------

TICK = datetime(2025, 8, 20, 2, tzinfo=UTC)


def overdue(outbox: Outbox, *, nights_later: int = 0) -> list[str]:
    tick = TICK + timedelta(days=nights_later)
    with connect(outbox.url) as session, session.transaction():
        return rules.alert_overdue(session, tick, tick + timedelta(hours=1))


@pytest.fixture
def late(subscribed: Outbox) -> Outbox:
    """Make two tables due at the tick, of which one is disabled."""
    execute(
        subscribed.url,
        f"""
        UPDATE sqp.refresh_config SET next_refresh_at = '{TICK + timedelta(days=9)}';
        UPDATE sqp.refresh_config SET next_refresh_at = '{TICK}',
            is_enabled = table_name = '{TABLE}'
        WHERE table_name IN ('{TABLE}', 'weekly_summary');
        UPDATE sqp.refresh_config SET last_refresh_at = '{TICK - timedelta(days=1)}';
        """,
    )
    return subscribed


def test_an_overdue_table_is_one_alert_a_night_however_often_it_is_found(late):
    assert [overdue(late) for _ in range(3)] == [[TABLE]] * 3
    assert late.events() == ["refresh.overdue"]
    assert overdue(late, nights_later=1) == [TABLE]

    (payload, _) = [payload for (payload,) in late.deliveries("payload")]
    assert payload["table_name"] == TABLE
    assert payload["audit_log_id"] is None
    assert payload["error_message"].startswith(
        "it was due at 2025-08-20 02:00 UTC and was not refreshed; the last time was 2025-08-19"
    )


def test_a_table_that_failed_is_not_overdue_too(late):
    late.fail()

    assert overdue(late) == []


@pytest.mark.parametrize(
    ("outcome", "metadata"),
    [
        (audit_log.describe_failure(NotFound("gone")), {}),
        (SUCCESS | {"status": "warning"}, {"reconciliation": {"verdict": "FAIL"}}),
    ],
)
def test_what_depends_on_a_table_with_an_alert_is_not_overdue_too(late, outcome, metadata):
    due = "UPDATE sqp.refresh_config SET is_enabled = true, next_refresh_at = '{}'"
    execute(late.url, due.format(TICK) + " WHERE table_name <> 'search_query_performance'")
    late.end("r", outcome, table=TABLES["search_query_performance"], **metadata)

    assert overdue(late) == ["asin_performance_data", TABLE]


def test_nothing_is_overdue_while_a_refresh_is_at_work(late):
    with connect(late.url) as session, session.transaction():
        audit_log.begin(session, DAILY_SQP_DATA, {"run_id": "r"})

    assert overdue(late) == []


# -- who gets it -----------------------------------------------------------------------------------


def test_where_nobody_subscribes_nothing_is_written(outbox):
    outbox.subscribe("off", NOWHERE, enabled=False)
    outbox.subscribe("other", NOWHERE, events="'{quality.failed}'")

    outbox.fail()
    outbox.succeed()

    assert outbox.deliveries() == []


def test_each_receiver_gets_the_events_that_it_subscribes_to(subscribed, monkeypatch):
    monkeypatch.setenv("REFRESH_NOTIFY_URLS", "slack://a/b/c, mailto://u:p@x.example")
    subscribed.subscribe("everything", NOWHERE)
    subscribed.subscribe("completions", NOWHERE, events="'{refresh.completed}'")
    subscribed.succeed()
    subscribed.fail()

    event_ids = dict(subscribed.deliveries("receiver, event_id"))

    assert subscribed.events("everything") == ["refresh.completed", "refresh.failed"]
    assert subscribed.events("completions") == ["refresh.completed"]
    for receiver in ("REFRESH_WEBHOOK_URL", "slack", "mailto"):
        assert subscribed.events(receiver) == ["refresh.failed"]
    assert len({event_ids[name] for name in ("everything", "slack", "REFRESH_WEBHOOK_URL")}) == 1

    monkeypatch.setenv("REFRESH_ALERT_EVENTS", "refresh.completed")
    subscribed.succeed()
    assert subscribed.events() == ["refresh.failed", "refresh.completed"]
