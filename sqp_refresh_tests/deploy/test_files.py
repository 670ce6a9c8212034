"""Check the files of deploy/, as far as that works without a cluster, root or an image."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
import yaml
from dagster._core.instance.config import PoolGranularity
from psycopg import sql

from sqp_refresh.defs.launchers import CeleryRuns
from sqp_refresh.model import error_reasons
from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.deploy.machine import DEPLOY, RELEASE, exec_start, storage_variables

UNITS = sorted(DEPLOY.rglob("*.service"))
# Of ten, by systemd's own measure; a service without any of the directives gets 9.6.
EXPOSED_AT_MOST = 3.0


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture
def instance(database, monkeypatch, tmp_path):
    """Load the instance of deploy/dagster.yaml, on an empty Postgres."""
    for name, value in storage_variables(database).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DAGSTER_LOGS_DIR", str(tmp_path))
    with dg.DagsterInstance.from_config(str(DEPLOY)) as instance:
        yield instance


def test_the_instance_is_kept_in_postgres_and_runs_one_writer_for_each_table(instance):
    pools = instance.get_concurrency_config().pool_config

    assert type(instance.run_storage).__name__ == "PostgresRunStorage"
    assert type(instance.event_log_storage).__name__ == "PostgresEventLogStorage"
    assert (pools.default_pool_limit, pools.pool_granularity) == (1, PoolGranularity.OP)
    assert instance.run_monitoring_enabled
    assert instance.telemetry_enabled is False


def test_failed_runs_are_left_to_the_sensor(instance):
    assert instance.run_retries_max_retries == 0
    assert instance.run_retries_retry_on_asset_or_op_failure is False
    assert instance.run_monitoring_max_resume_run_attempts == 0


def test_the_run_launcher_is_configuration(instance, tmp_path, monkeypatch):
    for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"):
        monkeypatch.setenv(name, "redis://127.0.0.1:1/0")
    configured = read("dagster.yaml") | read("celery/run_launcher.yaml")
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(configured))

    with dg.DagsterInstance.from_config(str(tmp_path)) as celery:
        assert isinstance(celery.run_launcher, CeleryRuns)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_is_well_formed_and_confined(unit, tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    shutil.copytree(DEPLOY / "systemd", tmp_path / "units")
    here = tmp_path / "units" / unit.name
    here.write_text(unit.read_text().replace(RELEASE, sys.prefix))
    searched = os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}/units:"}

    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", here],
        env=searched,
        capture_output=True,
        text=True,
    )
    confined = subprocess.run(
        [
            "systemd-analyze",
            "security",
            "--offline=true",
            f"--threshold={10 * EXPOSED_AT_MOST:.0f}",
            unit.name,
        ],
        env=searched,
        capture_output=True,
        text=True,
    )

    complaints = [line for line in verified.stderr.splitlines() if "sqp-refresh" in line]
    assert (verified.returncode, complaints) == (0, [])
    assert confined.returncode == 0, confined.stdout


def test_only_what_starts_runs_knows_the_target():
    knowing = {unit.stem for unit in UNITS if "refresh.env" in unit.read_text()}
    compose = read("container/compose.yaml")["services"]

    assert knowing == {"sqp-refresh-code", "sqp-refresh-worker"}
    assert [
        name for name, service in compose.items() if "refresh.env" in service.get("env_file", [])
    ] == ["code"]


def test_the_ui_listens_on_loopback_and_its_proxy_asks_who_is_there():
    (webserver,) = (unit for unit in UNITS if "webserver" in unit.name)
    command = exec_start(webserver)

    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert "basicauth" in (DEPLOY / "Caddyfile").read_text()
    published = {
        name: service["ports"]
        for name, service in read("container/compose.yaml")["services"].items()
        if "ports" in service
    }
    assert published == {"proxy": ["443:443"]}
    if shutil.which("caddy"):
        done = subprocess.run(
            ["caddy", "validate", "--config", DEPLOY / "Caddyfile", "--adapter", "caddyfile"],
            env=os.environ | {"SQP_REFRESH_UI_PASSWORD_HASH": "JDJhJDE0JA=="},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_the_containerfile_passes_its_linter():
    hadolint = Path(sys.prefix, "bin", "hadolint")
    if not hadolint.exists():
        pytest.skip("there is no hadolint for this machine")

    done = subprocess.run([hadolint, DEPLOY / "Containerfile"], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_copies_files_that_are_there_and_starts_what_the_unit_starts():
    text = (DEPLOY / "Containerfile").read_text()
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    (command,) = re.findall(r"^CMD (\[.+\])$", text, re.MULTILINE)

    for name in " ".join(copied).split():
        assert (DEPLOY.parent / name).exists(), name
    started = exec_start(DEPLOY / "systemd" / "sqp-refresh-code.service")[1:]
    assert yaml.safe_load(command)[1:] == [
        "0.0.0.0" if word == "127.0.0.1" else word for word in started
    ]


def test_the_chart_configures_dagster_as_dagster_yaml_does():
    values, instance = read("helm/values.yaml"), read("dagster.yaml")

    for name, value in values["additionalInstanceConfig"].items():
        assert value == instance[name], name
    for name in ("schedule", "sensor"):
        assert (
            values["retention"][name]["purgeAfterDays"]
            == instance["retention"][name]["purge_after_days"]
        )
    assert values["telemetry"] == instance["telemetry"]
    (code,) = values["dagster-user-deployments"]["deployments"]
    (server,) = read("container/workspace.yaml")["load_from"]
    assert code["port"] == server["grpc_server"]["port"] == 4000


def test_the_role_may_change_rows_and_nothing_else(migrated_database):
    script = (DEPLOY / "grants.sql").read_text()
    grants = re.findall(r"^GRANT .*?;", script, re.MULTILINE | re.DOTALL)
    with psycopg.connect(migrated_database) as connection:
        connection.execute("CREATE ROLE refresher_of_a_test")
        for grant in grants:
            named = grant.replace(':"target"', connection.info.dbname).replace(':"schema"', "sqp")
            connection.execute(named.replace(':"role"', "refresher_of_a_test").encode())
        connection.execute("SET ROLE refresher_of_a_test")

        for table in TABLES:
            names = {"table": sql.Identifier("sqp", table)}
            connection.execute(sql.SQL("DELETE FROM {table}").format(**names))
            for forbidden in ("TRUNCATE {table}", "DROP TABLE {table}"):
                refused = pytest.raises(psycopg.errors.InsufficientPrivilege)
                with refused, connection.transaction():
                    connection.execute(sql.SQL(forbidden).format(**names))
        connection.execute("SELECT sqp.as_of('weekly_summary', '2025-08-10', now())")
        connection.execute(
            "INSERT INTO sqp.refresh_history (audit_log_id, table_name, period_start, key,"
            " operation) VALUES (1, 'weekly_summary', '2025-08-10', '{}', 'insert')"
        )
        connection.execute("DELETE FROM sqp.refresh_history")
        for forbidden in (
            "UPDATE sqp.refresh_history SET before = NULL",
            "CREATE TABLE sqp.mine (asin text)",
            "INSERT INTO sqp.refresh_config (table_name) VALUES ('mine')",
            "UPDATE sqp.refresh_dependencies SET dependency_type = 'soft'",
        ):
            refused = pytest.raises(psycopg.errors.InsufficientPrivilege)
            with refused, connection.transaction():
                connection.execute(forbidden.encode())
        connection.rollback()


def test_the_service_account_has_the_roles_that_a_refusal_names():
    granted = set(re.findall(r"`(roles/[\w.]+)`", (DEPLOY / "bigquery.sql").read_text()))

    reasons = Path(error_reasons.__file__).read_text()
    assert granted == set(re.findall(r"roles/bigquery\.\w+", reasons))
