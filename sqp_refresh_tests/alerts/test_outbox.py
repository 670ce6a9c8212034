"""Test what refreshes write to the outbox: in the same transaction, and once for each cause."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh import settings as settings_module
from sqp_refresh.alerts import digest, mutes, rules
from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.control import audit_log
from sqp_refresh.errors import NotFound, Rejected, Unavailable
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
        "tables": [TABLE],
        "weeks": [],
        "command": "sqp-refresh doctor",
        "run_url": None,
        "dataset": environment.BIGQUERY_DATASET,
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
            # A warning in between says that there is something else.
            "refresh.recovered": sum(
                before == "failed" and after == "success"
                for before, after in pairwise(status for status in statuses if status != "warning")
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


# -- one alert for what several tables have in common, and for a bad week --------------------------

SOURCES = [table for table in TABLES.values() if table.source]
RULE = "ASIN Click Share is not between 0 and 100"


def rejected(*weeks: str, reasons: dict[str, int] | None = None) -> dict[str, Any]:
    details = {"bad": 212, "read": 4_050, "reasons": reasons or {RULE: 212}}
    message = f"the week of {weeks[0]} is rejected: 212 of its 4,050 rows break their contract"
    error = Rejected(f"{message}: {RULE} (212)", rejected=dict.fromkeys(weeks, details))
    return audit_log.describe_failure(error)


def reject(outbox: Outbox, night: str, *weeks: str) -> None:
    for table in SOURCES:
        outbox.end(night, rejected(*weeks), table=table)


def test_a_bad_week_is_one_alert_for_all_tables_and_nights(subscribed, monkeypatch):
    monkeypatch.setenv("DAGSTER_WEBSERVER_URL", "https://dagster.example/")
    monkeypatch.setenv("BIGQUERY_DATASET", "agency_85")
    for night in ("one", "two", "three"):
        reject(subscribed, night, "2025-08-10")

    ((payload,),) = subscribed.deliveries("payload")
    assert payload["tables"] == [table.name for table in SOURCES]
    assert payload["weeks"] == ["2025-08-10"]
    assert RULE in payload["error_message"]
    assert payload["command"] == "sqp-refresh quarantine list"
    assert payload["run_url"] == "https://dagster.example/runs/one"
    assert payload["dataset"] == "agency_85"

    reject(subscribed, "four", "2025-08-10", "2025-08-17")
    assert subscribed.events() == ["refresh.failed"] * 2


def test_a_week_that_turns_bad_again_after_it_was_published_is_an_alert_again(subscribed):
    reject(subscribed, "one", "2025-08-10")
    execute(
        subscribed.url,
        "INSERT INTO sqp.refresh_periods (table_name, period_start, period_end, target_state,"
        f" row_count, changed_by, published_by) VALUES ('{TABLE}', '2025-08-10', '2025-08-16',"
        " '', 1, 4, 4)",
    )
    reject(subscribed, "two", "2025-08-10")

    assert subscribed.events() == ["refresh.failed"] * 2


def test_tables_that_are_refreshed_again_after_one_bad_week_are_one_recovery(subscribed):
    reject(subscribed, "one", "2025-08-10")
    for table in SOURCES:
        subscribed.end("two", SUCCESS, table=table)

    *_, (event, payload) = subscribed.deliveries("event, payload")
    assert subscribed.events() == ["refresh.failed", "refresh.recovered"]
    assert (event, len(payload["tables"]), payload["weeks"]) == (
        *("refresh.recovered", len(SOURCES)),
        ["2025-08-10"],
    )


def test_tables_that_fail_for_the_same_reason_are_one_alert(subscribed):
    away = audit_log.describe_failure(Unavailable("BigQuery is away"))
    for table in SOURCES:
        subscribed.end("night", away, table=table)
    # A re-run may find other words for it.
    again = audit_log.describe_failure(Unavailable("BigQuery is away for long"))
    for table in SOURCES:
        subscribed.end("re-run", again, root="night", table=table)
    subscribed.end("night", audit_log.describe_failure(NotFound("gone")), table=SOURCES[1])

    payloads = [payload for (payload,) in subscribed.deliveries("payload")]
    assert [payload["tables"] for payload in payloads] == [
        [table.name for table in SOURCES],
        [SOURCES[1].name],
    ]
    assert payloads[0]["command"] == f"sqp-refresh refresh --table {SOURCES[0].name}"
    assert payloads[1]["command"] == "sqp-refresh doctor"


def test_a_table_that_differs_is_one_alert_though_it_warns_fails_and_was_failed(subscribed):
    different = {"reconciliation": {"verdict": "FAIL"}, "to_look_at": ["2025-08-10"]}
    warning = SUCCESS | {"status": "warning", "error_message": "it does not equal its source"}
    subscribed.fail("one")
    audit_log_id = subscribed.end("two", warning, **different)
    judge(subscribed, audit_log_id, "two")

    assert subscribed.events() == ["refresh.failed", "quality.failed"]
    *_, (payload,) = subscribed.deliveries("payload")
    assert payload["weeks"] == ["2025-08-10"]
    assert payload["command"] == (
        f"sqp-refresh check --table {TABLE} --from 2025-08-10 --to 2025-08-10"
    )


def test_a_recovery_that_the_checks_of_its_run_disprove_is_taken_back(subscribed):
    subscribed.fail("one")
    audit_log_id = subscribed.succeed("two")
    assert subscribed.events() == ["refresh.failed", "refresh.recovered"]

    judge(subscribed, audit_log_id, "two")

    assert subscribed.events() == ["refresh.failed", "quality.failed"]


def judge(outbox: Outbox, audit_log_id: int, run_id: str) -> None:
    with connect(outbox.url) as session, session.transaction():
        rules.alert_failed_checks(
            *(session, DAILY_SQP_DATA, ["row_count is 1 in 2025-08-10"]),
            weeks=["2025-08-10"],
            audit_log_id=audit_log_id,
            metadata={"run_id": run_id},
        )


# -- muted -----------------------------------------------------------------------------------------


def muted(outbox: Outbox, table: str | None, week: date | None, days: int = 0) -> None:
    with connect(outbox.url) as session, session.transaction():
        until = session.now().date() + timedelta(days=days)
        mutes.mute(session, table, week, until, "known")


@pytest.mark.parametrize(
    ("table", "week", "days", "is_alerted"),
    [
        (TABLE, None, 0, False),
        (None, date(2025, 8, 10), 3, False),
        (TABLE, date(2025, 8, 10), 3, False),
        (TABLE, date(2025, 8, 3), 3, True),
        ("weekly_summary", None, 3, True),
        (TABLE, None, -1, True),
    ],
)
def test_what_is_muted_is_no_alert_until_the_day_is_over(subscribed, table, week, days, is_alerted):
    muted(subscribed, table, week, days)
    subscribed.end("one", rejected("2025-08-10"))

    assert bool(subscribed.events()) == is_alerted


def test_an_alert_of_several_weeks_is_muted_where_each_of_them_is(subscribed):
    for week, events in ((date(2025, 8, 10), 1), (date(2025, 8, 17), 1)):
        reject(subscribed, "one", "2025-08-10", "2025-08-17")
        assert len(subscribed.events()) == events
        execute(subscribed.url, "DELETE FROM sqp.webhook_deliveries")
        muted(subscribed, None, week)
    reject(subscribed, "two", "2025-08-10", "2025-08-17")

    assert subscribed.events() == []

    # What is still wrong when the mute is over is alerted of then.
    execute(subscribed.url, "UPDATE sqp.refresh_mutes SET muted_until = '2025-08-20'")
    reject(subscribed, "three", "2025-08-10", "2025-08-17")
    assert subscribed.events() == ["refresh.failed"]


# -- the digest ------------------------------------------------------------------------------------


def send_digest(outbox: Outbox, day: int) -> None:
    with connect(outbox.url) as session, session.transaction():
        at = datetime(2026, 6, day, 6, tzinfo=UTC)
        digest.send_if_due(session, settings_module.Settings.read(), at)


def test_the_digest_is_for_who_names_it_once_a_week(subscribed):
    subscribed.subscribe("everything", NOWHERE)
    subscribed.subscribe("weekly", NOWHERE, events="'{refresh.digest}'")
    # The first of June 2026 is a Monday.
    for day, digests in ((2, 1), (5, 1), (7, 1), (8, 2), (9, 2)):
        send_digest(subscribed, day)
        assert subscribed.events("weekly") == ["refresh.digest"] * digests

    assert subscribed.events() == subscribed.events("everything") == []


def test_the_digest_says_what_the_days_did(subscribed, monkeypatch):
    monkeypatch.setenv("REFRESH_ALERT_EVENTS", "refresh.digest")
    subscribed.end("one", SUCCESS | {"rows_inserted": 1_200, "rows_updated": 3, "rows_deleted": 1})
    subscribed.fail("two")
    muted(subscribed, None, date(2025, 8, 10))
    with connect(subscribed.url) as session, session.transaction():
        digest.send_if_due(session, settings_module.Settings.read(), session.now())

    ((payload,),) = subscribed.deliveries("payload")
    assert payload["table_name"] == "all tables"
    assert (
        "1 of 2 refreshes went through; 1,200 rows inserted, 3 updated, 1 deleted"
        in (payload["error_message"])
    )
    assert f"; failed: {TABLE} (1); " in payload["error_message"]
    assert payload["error_message"].endswith("; muted: the week of 2025-08-10 in every table")
    (table,) = [table for table in payload["digest"]["tables"] if table["table"] == TABLE]
    assert (table["refreshes"], table["failed"], table["inserted"]) == (2, 1, 1_200)


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
