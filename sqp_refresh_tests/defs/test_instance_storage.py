"""Say in one line, without a password, why Dagster's own storage cannot be used."""

import json
import time
from pathlib import Path

import pytest
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy.exc import OperationalError

from sqp_refresh.defs import instance_storage
from sqp_refresh.defs.instance_storage import ask_instance, open_instance, unreadable
from sqp_refresh.errors import Unreachable
from sqp_refresh_tests.helpers.commands import one_line, sqp_refresh
from sqp_refresh_tests.helpers.weeks import LAST, three_weeks

POSTGRES = (
    "storage: {{postgres: {{postgres_db: "
    "{{hostname: {}, db_name: d, username: u, password: {}}}}}}}"
)
PREFIX = "Dagster's own storage cannot be used: "


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the directory that is DAGSTER_HOME, which is empty."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    return tmp_path


def damage(home: Path) -> None:
    """Let the databases of Dagster be files that are none."""
    for name in ("history/runs.db", "history/index.db", "schedules/schedules.db"):
        file = home / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"no database" * 1000)


def reason(home: Path) -> str:
    with pytest.raises(Unreachable) as asked:
        ask_instance(lambda instance: instance.get_runs_count())
    with pytest.raises(Unreachable) as opened, open_instance():
        pytest.fail("there is no storage")
    assert str(asked.value) == str(opened.value)
    assert "\n" not in str(asked.value)
    assert "hunter2" not in str(asked.value)
    reason, _, remedy = str(asked.value).removeprefix(PREFIX).partition("; ")
    of_files = remedy.startswith("load dagster.env, too, not refresh.env alone")
    assert of_files == ("is not set" in reason)
    return reason


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        (
            POSTGRES.format("{env: NOWHERE_SET}", "hunter2"),
            'environment variable "NOWHERE_SET" is not set',
        ),
        ("storage: {postgres: {url: hunter2}}", "dagster.yaml does not fit Dagster's schema"),
        (POSTGRES.format("h", "[hunter2]"), "dagster.yaml does not fit Dagster's schema"),
        ("storage: [hunter2", "dagster.yaml is not YAML"),
    ],
)
def test_what_is_wrong_in_the_configuration_is_said_without_its_values(home, yaml, expected):
    (home / "dagster.yaml").write_text(yaml)

    assert reason(home) == expected


def test_a_damaged_or_missing_storage_is_told_by_the_reason_of_reasons(home, monkeypatch):
    (home / "schedules").write_text("a file")
    assert reason(home).startswith("[Errno 17] File exists: ")

    (home / "schedules").unlink()
    damage(home)
    assert reason(home) == "file is not a database"

    monkeypatch.setenv("DAGSTER_HOME", str(home / "nowhere"))
    assert "is not a directory or does not exist" in reason(home)


def test_a_storage_that_does_not_answer_is_left_at_the_deadline(home, monkeypatch):
    monkeypatch.setattr(instance_storage, "DEADLINE_S", 0.1)

    with pytest.raises(Unreachable, match=r"it did not answer within 0.1 s; check"):
        ask_instance(lambda _: time.sleep(1))


@pytest.mark.parametrize(
    ("driver", "expected"),
    [
        ("connection to server failed: refused\n\tIs it running?", "to server failed: refused;"),
        ('could not translate host name "ter2@host"', "used: Exception;"),
    ],
)
def test_a_server_that_is_away_is_told_by_its_driver(driver, expected):
    error = DagsterPostgresException("too many retries for DB connection")
    error.__cause__ = OperationalError("SELECT", {}, Exception(driver))
    error.__cause__.__cause__ = Exception(driver)

    assert expected in str(unreadable(error))


def test_what_else_was_found_is_shown(migrated_database, home, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    damage(home)

    status, checkup = sqp_refresh("status", "--json"), sqp_refresh("doctor", "--json")

    lines = json.loads(status.stdout)["lines"]
    (schedule,) = [line for line in lines if line["name"] == "on_schedule"]
    messages = [problem["said"] for problem in schedule["problems"]]
    assert (status.returncode, schedule["answer"], len(lines)) == (2, None, 6)
    assert messages[0].startswith(f"{PREFIX}file is not a database; ")
    assert any(line.startswith("no night has taken") for line in messages)
    diagnoses = json.loads(checkup.stdout)
    assert checkup.returncode == 2
    assert [row["said"] for row in diagnoses if row["about"] == "daemon"] == messages[:1]
    assert {"privileges", "disk", "code location"} < {
        row["about"] for row in diagnoses if row["ok"]
    }

    assert one_line(sqp_refresh("refresh", "--table", "weekly_summary")).endswith(messages[0])
    assert sqp_refresh("dashboard").returncode == 0


def test_a_run_whose_logs_have_no_place_is_one_line(environment, source, home):
    source.write(three_weeks())
    (home / "dagster.yaml").write_text(
        "compute_logs: {module: dagster.core.storage.local_compute_log_manager, class:"
        " LocalComputeLogManager, config: {base_dir: {env: DAGSTER_LOGS_DIR}}}"
    )

    done = sqp_refresh("refresh", "--table", "daily_sqp_data", "--from", str(LAST))

    reason = 'environment variable "DAGSTER_LOGS_DIR" is not set; load dagster.env, too'
    assert done.returncode == 1
    assert f"run failed: {reason}, not refresh.env alone" in done.stdout
