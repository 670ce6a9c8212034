"""Check the guide's list of success after seven nights, and after one thing goes wrong."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dagster as dg
import pytest
from dagster._daemon.controller import DEFAULT_DAEMON_HEARTBEAT_TOLERANCE_SECONDS
from dagster._daemon.types import DaemonHeartbeat

from sqp_refresh.defs.cron import ticks_between
from sqp_refresh.load.indexes import drop_for_bulk_load
from sqp_refresh.model.tables import TABLES
from sqp_refresh.monitoring.dashboard.figures import Health, read_figures
from sqp_refresh.monitoring.orchestrator import DAEMON_TOLERANCE
from sqp_refresh.monitoring.status.missed_nights import find_missed_nights
from sqp_refresh.monitoring.status.status_model import QUESTIONS
from sqp_refresh.postgres.session import connect
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import one_line, sqp_refresh
from sqp_refresh_tests.helpers.database import execute

DAY = timedelta(days=1)
NIGHT = """
INSERT INTO sqp.refresh_audit_log (
    table_name, status, refresh_started_at, refresh_completed_at, execution_time_ms, rows_processed,
    sync_metadata
)
SELECT table_name, 'success', tick, tick + interval '1 minute', 60000, 4, jsonb_build_object(
    'run_id', 'r', 'launched_by', 'schedule', 'tick', tick, 'weeks', '[]'::jsonb
)
FROM sqp.refresh_config, unnest('{ticks}'::timestamptz[]) AS tick ORDER BY tick;
INSERT INTO sqp.refresh_data_quality (audit_log_id, metric_name, metric_value, is_within_threshold)
SELECT id, metric, 4, true
FROM sqp.refresh_audit_log, unnest(ARRAY['row_count', 'freshness_days']) AS metric;
UPDATE sqp.refresh_config
SET last_refresh_at = '{last}', next_refresh_at = '{last}'::timestamptz + interval '1 day';
"""
OF_LAST_NIGHT = """
WHERE table_name = 'daily_sqp_data'
    AND refresh_started_at = (SELECT max(refresh_started_at) FROM sqp.refresh_audit_log)
"""
SUMMARIES = {table for table in TABLES if table.endswith("_summary")}
BLOCKED_LAST_NIGHT = """
SELECT id FROM sqp.refresh_audit_log
WHERE table_name LIKE '%_summary'
    AND refresh_started_at = (SELECT max(refresh_started_at) FROM sqp.refresh_audit_log)
"""


@pytest.fixture
def ticks() -> list[datetime]:
    """Return the last seven nights, in order, one that began an hour ago at the latest."""
    last = datetime.now(UTC) - timedelta(hours=1)
    return ticks_between(Settings.read(), last - 7 * DAY, last)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch, migrated_database: str, ticks: list[datetime]) -> str:
    """Return the URL of a database with seven nights of every table, which the settings name."""
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    array = "{" + ",".join(map(str, ticks)) + "}"
    execute(migrated_database, NIGHT.format(ticks=array, last=ticks[-1]))
    return migrated_database


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """Yield a Dagster instance at DAGSTER_HOME whose daemon has just given a sign of life."""
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as instance:
        beat(instance, ago_s=0)
        yield instance


def beat(instance: dg.DagsterInstance, ago_s: float) -> None:
    for daemon in instance.get_required_daemon_types():
        at = time.time() - ago_s
        instance.add_daemon_heartbeat(DaemonHeartbeat(at, daemon, None, None))


def answers() -> tuple[int, dict[str, bool | None], dict[str, str]]:
    """Return the exit status, each criterion's answer, and what is wrong by criterion."""
    done = sqp_refresh("status", "--json")
    status: dict[str, Any] = json.loads(done.stdout)
    lines = status["lines"]
    assert status["exit_status"] == done.returncode
    assert [line["question"] for line in lines] == list(QUESTIONS.values())
    problems = {
        line["name"]: " ".join(problem["said"] for problem in line["problems"])
        for line in lines
        if line["problems"]
    }
    return done.returncode, {line["name"]: line["answer"] for line in lines}, problems


def test_after_seven_nights_every_line_is_a_yes(url, home):
    code, answered, wrong = answers()

    assert (code, wrong) == (0, {})
    assert answered == dict.fromkeys(QUESTIONS, True)


def test_what_somebody_changed_of_the_schema_is_a_problem_of_what_is_deployed(url, home):
    with connect(url) as session:
        assert drop_for_bulk_load(session, TABLES["weekly_summary"])
    execute(url, "ALTER TABLE sqp.yearly_summary DROP CONSTRAINT yearly_summary_pkey")

    code, answered, wrong = answers()

    # It costs time, and no number is wrong for it.
    assert (code, answered["deployed"]) == (1, True)
    assert "sqp.weekly_summary is without weekly_summary_asin_idx, " in wrong["deployed"]
    assert 'ALTER TABLE "sqp"."yearly_summary" ADD PRIMARY KEY (' in wrong["deployed"]

    execute(url, "ALTER TABLE sqp.daily_sqp_data DROP COLUMN ctr")
    code, answered, wrong = answers()
    assert (code, answered["deployed"]) == (2, False)
    assert "sqp.daily_sqp_data lacks column ctr; ALTER TABLE" in wrong["deployed"]


def test_it_reads_well(url):
    due = "date_trunc('day', now()) + interval '1 day 18 hours 41 minutes'"
    execute(url, f"UPDATE sqp.refresh_config SET next_refresh_at = {due}")

    done = sqp_refresh("status")

    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout
    for line, question in zip(lines, QUESTIONS.values(), strict=False):
        assert line.startswith(f"yes  {question}: ")
    tables = [line for line in lines if line.split(" ")[0] in TABLES]
    assert len(tables) == 8
    # What is due at any time of the day is taken by the night after that.
    assert {line.split()[-1] for line in tables} == {"02:00"}


def test_a_night_that_failed_is_a_failure_and_no_night_without_hands(url):
    execute(
        url,
        "UPDATE sqp.refresh_audit_log SET status = 'failed', error_message = 'the quota is used up'"
        + OF_LAST_NIGHT,
    )

    code, answered, wrong = answers()

    assert code == 2
    assert {name for name, yes in answered.items() if not yes} == {"succeeding", "hands_off"}
    assert "daily_sqp_data failed: the quota is used up" in wrong["succeeding"]
    assert "sqp-refresh history daily_sqp_data" in wrong["succeeding"]


def test_a_table_that_its_night_left_out_is_overdue(url, ticks):
    execute(
        url,
        "DELETE FROM sqp.refresh_data_quality WHERE audit_log_id IN"
        f" (SELECT id FROM sqp.refresh_audit_log {OF_LAST_NIGHT});"
        f"DELETE FROM sqp.refresh_audit_log {OF_LAST_NIGHT};"
        f"UPDATE sqp.refresh_config SET next_refresh_at = '{ticks[-1]}'"
        " WHERE table_name = 'daily_sqp_data'",
    )

    code, answered, wrong = answers()

    assert code == 2
    assert {name for name, yes in answered.items() if not yes} == {"on_schedule", "hands_off"}
    assert wrong["on_schedule"].startswith(
        f"daily_sqp_data overdue since {ticks[-1]:%Y-%m-%d} 02:00"
    )
    with connect(url) as session, session.transaction():
        figures = read_figures(session, datetime.now(UTC), days=7, last_tick=ticks[-1])
    assert {table.name: table.health for table in figures.troubled} == {
        "daily_sqp_data": Health.OVERDUE
    }


def test_tables_below_one_that_failed_are_blocked_by_it_and_not_overdue(url, ticks):
    execute(
        url,
        "UPDATE sqp.refresh_audit_log SET status = 'failed', error_message = 'rejected' WHERE"
        f" table_name = 'search_query_performance' AND refresh_started_at = '{ticks[-1]}';"
        f"DELETE FROM sqp.refresh_data_quality WHERE audit_log_id IN ({BLOCKED_LAST_NIGHT});"
        f"DELETE FROM sqp.refresh_audit_log WHERE id IN ({BLOCKED_LAST_NIGHT});"
        f"UPDATE sqp.refresh_config SET next_refresh_at = '{ticks[-1]}',"
        f" last_refresh_at = '{ticks[-2]}' WHERE table_name LIKE '%_summary'",
    )

    code, answered, wrong = answers()

    assert (code, answered["on_schedule"]) == (2, True)
    since = f"since {ticks[-2]:%Y-%m-%d} 02:00 UTC, blocked by search_query_performance"
    assert f"not refreshed {since}; see `sqp-refresh history" in wrong["succeeding"]
    with connect(url) as session, session.transaction():
        figures = read_figures(session, datetime.now(UTC), days=7, last_tick=ticks[-1])
    assert {table.name for table in figures.tables if table.health is Health.BLOCKED} == SUMMARIES
    assert figures.verdict == "6 of 8 tables need attention"


def test_a_registry_that_goes_round_in_circles_ends_no_report(url, home):
    execute(
        url,
        "INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id)"
        " SELECT dependent_config_id, parent_config_id FROM sqp.refresh_dependencies LIMIT 1",
    )

    assert answers()[1]["succeeding"] is True


def test_the_daemon_is_said_to_be_dead_when_dagster_takes_it_for_dead():
    assert DAEMON_TOLERANCE.total_seconds() == DEFAULT_DAEMON_HEARTBEAT_TOLERANCE_SECONDS


def test_a_daemon_without_a_heartbeat_is_dead(url, home):
    beat(home, ago_s=3600)

    code, answered, wrong = answers()

    assert code == 2
    assert {name for name, yes in answered.items() if not yes} == {"on_schedule"}
    assert "the Dagster daemon is dead since" in wrong["on_schedule"]
    assert "dagster-daemon run" in wrong["on_schedule"]


def test_a_database_that_takes_no_writes_has_nothing_on_record_since(url, home):
    name = urlsplit(url).path.removeprefix("/")
    execute(url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")

    code, answered, wrong = answers()

    assert code == 2
    assert (answered["on_schedule"], answered["succeeding"]) == (False, None)
    assert "the database is read-only, so that nothing is refreshed" in wrong["on_schedule"]
    assert "what has run since is not on record" in wrong["succeeding"]
    assert "!!  privileges: the database is read-only" in sqp_refresh("doctor").stdout


def test_a_night_that_a_person_mended_was_not_hands_off(url, ticks):
    execute(
        url,
        "UPDATE sqp.refresh_audit_log"
        """ SET sync_metadata = sync_metadata || '{"launched_by": "person"}'"""
        f" WHERE refresh_started_at = '{ticks[3]}' AND table_name = 'daily_sqp_data'",
    )

    code, answered, wrong = answers()

    assert code == 1
    assert {name for name, yes in answered.items() if not yes} == {"hands_off"}
    assert (
        f"the night of {ticks[3]:%Y-%m-%d} 02:00 UTC did not take daily_sqp_data"
        in wrong["hands_off"]
    )


def test_a_failure_that_a_re_run_mended_needed_nobody(url, ticks):
    again = {"run_id": "again", "launched_by": "sensor", "rerun": 1, "tick": ticks[-1].isoformat()}
    execute(
        url,
        f"UPDATE sqp.refresh_audit_log SET status = 'failed' {OF_LAST_NIGHT};"
        "INSERT INTO sqp.refresh_audit_log"
        " (table_name, status, refresh_started_at, refresh_completed_at, sync_metadata)"
        f" VALUES ('daily_sqp_data', 'success', now(), now(), '{json.dumps(again)}')",
    )

    assert answers()[0] == 0


@pytest.mark.parametrize(
    ("metric", "value", "code", "yes"),
    [("row_count", 3, 2, False), ("freshness_days", 39, 1, True), ("freshness_days", 67, 2, False)],
)
def test_a_check_that_fails_is_broken_and_one_that_warns_is_worth_a_look(
    url, metric, value, code, yes
):
    execute(
        url,
        "UPDATE sqp.refresh_data_quality"
        f" SET is_within_threshold = false, metric_value = {value}, expected_value = 4"
        f" WHERE metric_name = '{metric}' AND audit_log_id IN"
        f" (SELECT id FROM sqp.refresh_audit_log {OF_LAST_NIGHT})",
    )

    exit_status, answered, wrong = answers()

    assert (exit_status, answered["checked"]) == (code, yes)
    assert wrong["checked"].startswith(f"{metric} of daily_sqp_data ({value}, source 4)")


def test_a_registry_that_differs_from_the_graph_is_not_deployed(url):
    execute(url, "DELETE FROM sqp.refresh_dependencies")

    _, answered, wrong = answers()

    assert {name for name, yes in answered.items() if not yes} == {"deployed"}
    assert "sqp.refresh_dependencies lacks" in wrong["deployed"]


def test_a_code_location_that_does_not_load_is_not_deployed(url, monkeypatch):
    monkeypatch.setenv("REFRESH_CRON", "every night")

    code, answered, wrong = answers()

    assert code == 2
    assert answered["deployed"] is False
    assert answered["hands_off"] is None
    assert "REFRESH_CRON 'every night' is not a cron expression" in wrong["deployed"]


def test_what_is_just_installed_has_not_run_yet(migrated_database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", migrated_database)

    code, answered, wrong = answers()

    assert code == 2
    assert [name for name, yes in answered.items() if yes] == ["deployed"]
    assert "not refreshed in the last 90 days; run `sqp-refresh refresh`" in wrong["succeeding"]
    assert wrong["on_schedule"].startswith("no night has taken asin_performance_data, ")


def test_everything_disabled_is_a_problem_and_a_table_disabled_is_left_out(url):
    execute(url, "UPDATE sqp.refresh_config SET is_enabled = table_name <> 'daily_sqp_data'")
    execute(url, f"UPDATE sqp.refresh_audit_log SET status = 'failed' {OF_LAST_NIGHT}")
    assert answers()[0] == 0

    execute(url, "UPDATE sqp.refresh_config SET is_enabled = false")
    code, answered, wrong = answers()

    assert (code, answered["on_schedule"]) == (2, False)
    assert wrong["on_schedule"].startswith("every table is disabled")
    # Nothing of nothing is no yes.
    assert [name for name, yes in answered.items() if yes] == ["deployed", "monitored"]


def test_without_postgres_nothing_can_be_answered(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:hunter2@127.0.0.1:1/d")

    code, answered, wrong = answers()

    assert code == 2
    assert [answer for name, answer in answered.items() if name != "deployed"] == [None] * 5
    assert "hunter2" not in str(wrong)


def test_without_a_database_url_it_is_one_line():
    assert "DATABASE_URL is not set" in " ".join(answers()[2].values())


def test_a_weekly_table_needs_one_night_in_seven():
    ticks = [datetime(2025, 8, day, 2, tzinfo=UTC) for day in range(11, 18)]

    assert find_missed_nights(ticks, {ticks[2]}, 168) == ticks[:2]
    assert find_missed_nights(ticks, {ticks[0] - 3 * DAY, ticks[4]}, 168) == []
    assert find_missed_nights(ticks, {ticks[0] - 3 * DAY}, 168) == ticks[4:]
    assert find_missed_nights(ticks, ticks, 24) == []
    assert find_missed_nights(ticks, ticks[:3], 24) == ticks[3:]
    assert find_missed_nights([], [], 24) == []


# -- history ---------------------------------------------------------------------------------------


def test_history_shows_the_last_runs(url):
    execute(
        url,
        "UPDATE sqp.refresh_audit_log SET status = 'failed', error_message = E'\\x1b[31mx'"
        + OF_LAST_NIGHT,
    )

    printed = sqp_refresh("history", "daily_sqp_data", "--limit", "3")
    status = sqp_refresh("status")
    runs = json.loads(sqp_refresh("history", "daily_sqp_data", "--json").stdout)

    assert len(runs) == 7
    assert [run["status"] for run in runs][:2] == ["failed", "success"]
    assert runs[0]["launched_by"] == "schedule"
    lines = printed.stdout.splitlines()
    assert len(lines) == 5
    assert lines[-1].endswith(r"failed: \x1b[31mx")
    assert r"     daily_sqp_data failed: \x1b[31mx; see" in status.stdout
    assert "\x1b" not in status.stdout


def test_history_of_no_table_is_one_line(url):
    assert "there is no table 'nope'; choose from asin_perf" in one_line(
        sqp_refresh("history", "nope")
    )
