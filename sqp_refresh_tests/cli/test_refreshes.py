"""Test what the commands print, and their exit status; one of each kind in its own process."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping

import pytest

from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.commands import one_line, sqp_refresh
from sqp_refresh_tests.helpers.nights import queries, read_tables
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, three_weeks

PASSWORD = "hunter2-of-the-database"


def in_its_own_process(
    *arguments: str, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    program = "import sys; from sqp_refresh.cli import main; sys.argv[0] = 'sqp-refresh'; main()"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(variables or {})},
    )


@pytest.fixture
def set_variables(monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_migrate_then_nothing_to_do(database):
    variables = {"DATABASE_URL": database}

    first = in_its_own_process("migrate", variables=variables)
    second = in_its_own_process("migrate", variables=variables)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout.startswith("applied 0001, 0002")
    assert second.stdout == "nothing to do\n"


def test_migrate_prints_sql_without_any_setting():
    done = sqp_refresh("migrate", "--sql")

    assert done.returncode == 0, done.stderr
    assert "CREATE TABLE sqp.search_query_performance" in done.stdout


def test_refresh_shows_what_it_did(environment, source):
    rows = three_weeks()
    source.write(rows)
    weeks = ("--from", str(FIRST), "--to", str(LAST))

    first = in_its_own_process("refresh", *weeks)
    second = in_its_own_process("refresh", *weeks)

    assert first.returncode == 0, first.stdout + first.stderr
    tables = oracle.expected_tables(rows)
    landed = sum(map(len, tables.values()))
    assert first.stdout.splitlines()[-1] == f"{landed} rows changed in weeks {FIRST} to {LAST}"
    assert second.stdout.splitlines()[-1] == f"0 rows changed in weeks {FIRST} to {LAST}"
    for table, expected in tables.items():
        assert table in first.stdout
        oracle.assert_equal(read_tables(environment)[table], expected, table)


def test_refresh_asks_once_what_the_weeks_hold_and_reads_all_of_one_instant(environment, source):
    source.write(three_weeks())

    done = sqp_refresh("refresh", "--from", str(FIRST), "--to", str(LAST))

    assert done.returncode == 0, done.stdout + done.stderr
    texts = queries(environment)
    # The weeks' versions, the rows without a date, and the rows of both tables that are summed up.
    assert len(texts) == 3
    assert len(set(re.findall(r"FOR SYSTEM_TIME AS OF TIMESTAMP '(.+?)'", "".join(texts)))) == 1


def test_bigquery_is_not_asked_for_a_table_that_is_disabled(environment, source):
    source.write(three_weeks())
    sqp_refresh("disable", "daily_sqp_data")

    done = sqp_refresh("refresh", "--table", "daily_sqp_data", "--from", str(LAST))

    assert "daily_sqp_data is disabled" in done.stdout
    assert queries(environment) == []


def test_refresh_of_one_table_leaves_the_others(environment, source):
    source.write(three_weeks())

    done = sqp_refresh(
        "refresh", "--table", "daily_sqp_data", "--from", str(FIRST), "--to", "2025-08-16"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert [table for table, rows in read_tables(environment).items() if rows] == ["daily_sqp_data"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({}, "DATABASE_URL is not set; set it to postgresql://"),
        ({"DATABASE_URL": "host=x"}, "DATABASE_URL must start with postgresql://"),
        ({"REFRESH_BATCH_SIZE": "x"}, "REFRESH_BATCH_SIZE "),
        (
            {"DATABASE_URL": f"postgresql://u:{PASSWORD}@127.0.0.1:1/d"},
            "Postgres: connection to server at",
        ),
        (
            {"DATABASE_URL": f"postgresql://u:{PASSWORD}@x@127.0.0.1:1/d"},
            "DATABASE_URL cannot be parsed",
        ),
    ],
)
@pytest.mark.usefixtures("set_variables")
def test_bad_settings_are_one_line_without_the_password(message):
    line = one_line(sqp_refresh("refresh"))

    assert line.startswith(f"sqp-refresh: {message}")
    assert PASSWORD not in line


def test_a_schema_that_is_not_migrated_is_one_line(database):
    line = one_line(in_its_own_process("refresh", variables={"DATABASE_URL": database}))

    assert "is not migrated" in line
    assert line.endswith("run sqp-refresh migrate")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--table", "nope"), "there is no table 'nope'; choose from asin_performance_data,"),
        (("--from", "2030-01-01"), "choose finished weeks"),
        (("--from", "2025-08-10", "--to", "2025-01-01"), "choose finished weeks"),
    ],
)
def test_bad_arguments_are_one_line(environment, arguments, message):
    assert message in one_line(sqp_refresh("refresh", *arguments))


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"BIGQUERY_SOURCE_TABLE": "nowhere"}, "BigQuery has no "),
        ({"BIGQUERY_PROJECT_ID": "nowhere"}, "BigQuery has no nowhere."),
        ({"BIGQUERY_PROJECT_ID": ""}, "BIGQUERY_PROJECT_ID is not set; set it to "),
        (
            {
                "BIGQUERY_EMULATOR_HOST": "",
                "BIGQUERY_STORAGE_EMULATOR_HOST": "",
                "GOOGLE_APPLICATION_CREDENTIALS_JSON": f'{{"private_key": "{PASSWORD}"',
            },
            "GOOGLE_APPLICATION_CREDENTIALS_JSON is not a service account key; set it to ",
        ),
    ],
)
def test_what_fails_in_the_run_is_one_line_and_an_audit_row(environment, set_variables, message):
    import psycopg

    done = sqp_refresh("refresh", "--table", "daily_sqp_data")

    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    (line,) = [
        line for line in done.stdout.splitlines() if line.startswith("daily_sqp_data failed")
    ]
    assert message in line
    with psycopg.connect(environment.database_url) as connection:
        audit = connection.execute(
            "SELECT status, error_message FROM sqp.refresh_audit_log"
        ).fetchall()
    assert audit == [("failed", line.removeprefix("daily_sqp_data failed: "))]
