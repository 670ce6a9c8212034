"""Start what the demo needs: servers, a filled source, a migrated schema, and the settings."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from sqp_refresh import schema_name
from sqp_refresh.demo.servers import Emulator, embedded_bigquery, embedded_postgres
from sqp_refresh.demo.source_table import fill_source
from sqp_refresh.demo.year import SUNDAYS
from sqp_refresh.model.periods import Period
from sqp_refresh.postgres import migrate
from sqp_refresh.settings import Settings

PROJECT = "demo-project"
DATASET = "dataclient_amzatlas_agency_85"
DAGSTER_YAML = """\
telemetry:
  enabled: false
nux:
  enabled: false
# Nothing prints, and capturing it would take a process for each step.
compute_logs:
  module: dagster._core.storage.noop_compute_log_manager
  class: NoOpComputeLogManager
"""
WORKSPACE_YAML = """\
load_from:
  - python_module:
      module_name: sqp_refresh.definitions
      location_name: sqp_refresh
"""


@contextmanager
def demo_environment(console: Console, directory: Path) -> Iterator[Settings]:
    """Start everything that a refresh needs, for as long as the context lasts.

    Args:
        console: Where progress is printed.
        directory: Where the servers keep their data, which stay there afterwards.

    Yields:
        The settings, which are in the environment too.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    console.print("starting Postgres and BigQuery ...")
    with (
        embedded_postgres(directory / "postgres") as database_url,
        embedded_bigquery(directory / "bigquery", project=PROJECT) as emulator,
    ):
        settings = _set_environment(directory, database_url, emulator)
        console.print("filling the source with a year of reports ...")
        fill_source(emulator, DATASET, settings.BIGQUERY_SOURCE_TABLE)
        applied = migrate.upgrade(database_url)
        console.print(f"schema {schema_name.SCHEMA}: {', '.join(applied) or 'up to date'}")
        yield settings


def weeks_of_demo() -> list[Period]:
    """Return the weeks that the demo's source holds."""
    return [Period.week_of(sunday) for sunday in SUNDAYS]


def serve_ui(console: Console, directory: Path, port: int) -> None:
    """Serve the Dagster UI on loopback, daemon included, until it is interrupted."""
    console.print(f"Dagster UI: [bold]http://127.0.0.1:{port}[/] (Ctrl-C ends it)")
    workspace = directory.resolve() / "dagster" / "workspace.yaml"
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(workspace)]
    # Elsewhere than where a .env may be, which prevails over the environment.
    process = subprocess.Popen([*command, "-h", "127.0.0.1", "-p", str(port)], cwd=directory)
    try:
        process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C has reached it too
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _set_environment(directory: Path, database_url: str, emulator: Emulator) -> Settings:
    """Point this process, and those it starts, at the demo's own servers."""
    home = directory / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    (home / "workspace.yaml").write_text(WORKSPACE_YAML)
    for name in Settings.model_fields.keys() - {schema_name.SETTING}:
        os.environ.pop(name, None)
    os.environ |= {
        "DAGSTER_HOME": str(home),
        "DATABASE_URL": database_url,
        "BIGQUERY_PROJECT_ID": emulator.project,
        "BIGQUERY_DATASET": DATASET,
        "BIGQUERY_EMULATOR_HOST": emulator.rest_url,
        "BIGQUERY_STORAGE_EMULATOR_HOST": emulator.storage_host,
    }
    return Settings.read()
