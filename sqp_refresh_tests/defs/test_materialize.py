"""The command lines and the job that people use, on real servers."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from sqp_refresh.definitions import defs
from sqp_refresh.defs.partitions import range_tags
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.nights import read_tables
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, three_weeks


def command(module: str, *arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "DAGSTER_HOME": str(home)},
    )


def audit(url: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT table_name, status, rows_processed, rows_inserted, error_message,"
            " sync_metadata FROM sqp.refresh_audit_log ORDER BY id"
        ).fetchall()


def test_a_range_of_weeks_by_dagster_then_one_week_by_dg(environment, source, tmp_path):
    rows = three_weeks()
    source.write(rows)

    whole = command(
        *("dagster", "asset", "materialize", "-m", "sqp_refresh.definitions", "--select", "*"),
        *("--partition-range", f"{FIRST}...{LAST}"),
        home=tmp_path,
    )
    assert whole.returncode == 0, whole.stderr[-3000:]
    # In the repository, it needs no name of a module.
    week = command(
        *("dagster_dg_cli.cli", "launch", "--partition", str(LAST)),
        *("--assets", "sqp/weekly_summary,sqp/monthly_summary"),
        home=tmp_path,
    )
    assert week.returncode == 0, week.stderr[-3000:]

    for table, expected in oracle.expected_tables(rows).items():
        oracle.assert_equal(read_tables(environment)[table], expected, table)
    log = audit(environment.database_url)
    assert [status for _, status, *_ in log] == ["success"] * 10
    skipped = {table: (how["weeks"], how["skipped"]) for table, *_, how in log[8:]}
    assert skipped == {
        "weekly_summary": ([], [str(LAST)]),
        "monthly_summary": ([], ["2025-08-01"]),
    }


@pytest.mark.timeout(150)
def test_two_runs_of_the_job_at_once_both_end_and_the_data_are_right_once(
    environment, source, tmp_path
):
    rows = three_weeks()
    source.write(rows)
    command = [sys.executable, "-m", "dagster", "job", "execute", "-m", "sqp_refresh.definitions"]
    tags = json.dumps(range_tags(str(FIRST), str(LAST)))
    # Nothing but Postgres is common to the two.
    machines = [tmp_path / "first", tmp_path / "second"]
    for home in machines:
        home.mkdir()
    both = [
        subprocess.Popen(
            [*command, "-j", "daily_refresh", "--tags", tags],
            env={**os.environ, "DAGSTER_HOME": str(home)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for home in machines
    ]

    for process in both:
        _, errors = process.communicate()
        assert process.returncode == 0, errors[-3000:]

    for table, expected in oracle.expected_tables(rows).items():
        oracle.assert_equal(read_tables(environment)[table], expected, table)
    log = audit(environment.database_url)
    assert sorted(table for table, *_ in log) == sorted(2 * list(oracle.KEYS))
    assert {status for _, status, *_ in log} == {"success"}
    published = [(table, week) for table, *_, how in log for week in how["weeks"]]
    assert len(published) == len(set(published))


@pytest.fixture
def run_job(instance) -> Callable[[], dg.ExecuteInProcessResult]:
    """Runs the nightly job over the three weeks."""

    def run() -> dg.ExecuteInProcessResult:
        return (
            defs()
            .resolve_job_def("daily_refresh")
            .execute_in_process(
                instance=instance, tags=range_tags(str(FIRST), str(LAST)), raise_on_error=False
            )
        )

    return run


def test_the_job_reports_counts_and_an_audit_row_for_each_table_higher_priority_first(
    environment, source, run_job
):
    rows = three_weeks()
    source.write(rows)

    result = run_job()

    assert result.success
    log = audit(environment.database_url)
    assert sorted(entry[0] for entry in log) == sorted(oracle.KEYS)
    (entry,) = [entry for entry in log if entry[0] == "search_query_performance"]
    assert entry[1:5] == ("success", 12, 12, None)
    metadata = entry[5]
    assert metadata["run_id"] == result.run_id
    assert metadata["weeks"] == [str(FIRST), str(MIDDLE), str(LAST)]
    assert (metadata["unchanged"], metadata["quarantined"], metadata["superseded"]) == (0, 0, 0)
    assert metadata["rows_per_second"] > 0
    assert "bytes_billed" in metadata
    (event, *_) = [
        event
        for event in result.get_asset_materialization_events()
        if event.asset_key and event.asset_key.path[-1] == "search_query_performance"
    ]
    shown = {name: value.value for name, value in event.materialization.metadata.items()}
    assert shown["dagster/row_count"] == 12
    assert shown["dagster/table_name"].endswith(".sqp.search_query_performance")
    assert (shown["dagster/partition_row_count"], shown["sqp/rows_inserted"]) == (4, 4)
    started = [
        event.step_key for event in result.all_events if event.event_type_value == "STEP_START"
    ]
    assert started.index("sqp__search_query_performance") < started.index("sqp__daily_sqp_data")


def test_a_failure_leaves_its_audit_row_and_refreshes_nothing_downstream(
    environment, source, monkeypatch, run_job
):
    source.write(three_weeks())
    monkeypatch.setenv("BIGQUERY_SOURCE_TABLE", "nowhere")

    result = run_job()

    assert not result.success
    log = audit(environment.database_url)
    assert {entry[0] for entry in log} == {
        "asin_performance_data",
        "search_query_performance",
        "daily_sqp_data",
    }
    assert {entry[1] for entry in log} == {"failed"}
    for _, _, _, _, message, _ in log:
        assert message.startswith("BigQuery has no ")
        assert "nowhere; check BIGQUERY_PROJECT_ID" in message


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE sqp.refresh_config SET is_enabled = false", "is disabled"),
        ("DELETE FROM sqp.refresh_dependencies; DELETE FROM sqp.refresh_config", "is not in"),
    ],
)
def test_a_table_that_is_not_enabled_is_not_touched(
    environment, source, run_job, statement, message
):
    source.write(three_weeks())
    with psycopg.connect(environment.database_url) as connection:
        connection.execute(statement)

    assert not run_job().success

    assert all(message in entry[4] for entry in audit(environment.database_url))
    assert all(not rows for rows in read_tables(environment).values())


def test_a_secret_appears_nowhere(environment, monkeypatch, run_job):
    key = {"type": "service_account", "private_key": "-----BEGIN TOPSECRET"}
    monkeypatch.delenv("BIGQUERY_EMULATOR_HOST")
    monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS_JSON", json.dumps(key))

    result = run_job()

    assert not result.success
    assert "TOPSECRET" not in str(list(result.all_events))
    messages = [entry[4] for entry in audit(environment.database_url)]
    assert len(messages) == 3
    assert all("GOOGLE_APPLICATION_CREDENTIALS_JSON is not" in message for message in messages)
