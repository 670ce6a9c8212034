"""Start what the demo needs: servers, a filled source, a migrated schema, and the settings."""

import os
import pwd
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import psycopg
from psycopg import sql
from rich.console import Console
from sqlalchemy import event
from sqlalchemy.engine import Engine

from sqp_refresh import schema_name
from sqp_refresh.demo.servers import (
    bigquery_client,
    embedded_bigquery,
    embedded_postgres,
    owned,
)
from sqp_refresh.demo.source_table import call_deadline
from sqp_refresh.demo.vendor import Vendor, read_last_sunday, weeks_later_by, weeks_later_of
from sqp_refresh.errors import Permanent, SettingsError
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.session import read_clock
from sqp_refresh.settings import Settings

PROJECT = "demo-project"
DATASET = "dataclient_amzatlas_agency_85"
ENVIRONMENT = "environment"
"""The file that says, while servers are held up, what points a shell at them."""

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


class Year(Enum):
    """Which year the demo's source is to hold."""

    KEPT = auto()  # whatever it holds
    OF_TODAY = auto()  # one that ends with the newest week
    BEFORE_ITS_LAST_NIGHTS = auto()  # the same, anew and without the week that comes late


@dataclass(frozen=True, slots=True)
class Demo:
    """The demo's servers while they run.

    Attributes:
        settings: The settings, which are in the environment too.
        vendor: Who fills the source.
    """

    settings: Settings
    vendor: Vendor


@contextmanager
def demo_environment(console: Console, directory: Path, year: Year) -> Iterator[Demo]:
    """Start everything that a refresh needs, for as long as the context lasts.

    Args:
        console: Where progress is printed.
        directory: Where the servers keep their data, which stay there afterwards.
        year: What the source is to hold; where it holds another, everything starts over.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    console.print("starting Postgres and BigQuery ...")
    with (
        embedded_postgres(directory / "postgres") as database_url,
        embedded_bigquery(directory / "bigquery", project=PROJECT) as emulator,
    ):
        _wait_for_no_disk(database_url)
        _tell_the_owner(console, directory / "postgres")
        table = Settings.model_fields["BIGQUERY_SOURCE_TABLE"].default
        last = read_last_sunday(emulator, DATASET, table)
        newest = weeks_later_by(read_clock(database_url).date())
        vendor = Vendor(emulator, DATASET, table, newest)
        if last and year is Year.KEPT:
            vendor = Vendor(emulator, DATASET, table, weeks_later_of(last))
        elif last and (year is not Year.OF_TODAY or last != vendor.weeks[-1].start):
            console.print("starting over, as these servers hold an earlier demo ...")
            _forget(directory, database_url, vendor)
        settings = _set_environment(directory, database_url, vendor)
        if vendor.deliver_year(with_late_week=year is not Year.BEFORE_ITS_LAST_NIGHTS):
            first, last = vendor.weeks[0], vendor.weeks[-1]
            console.print(f"the source has a year of reports, from {first} to {last.end}")
        applied = migrate.upgrade(database_url)
        state = f"migrations {applied[0]} to {applied[-1]}" if applied else "up to date"
        console.print(f"schema {schema_name.SCHEMA}: {state}")
        try:
            yield Demo(settings, vendor)
        finally:
            (directory / ENVIRONMENT).unlink(missing_ok=True)


def read_environment(directory: Path) -> str:
    """Return the commands that point a shell at servers which another process holds up.

    Raises:
        SettingsError: nobody does.
    """
    directory = directory.resolve()
    try:
        with owned(directory / "bigquery"):
            pass
    except Permanent:  # somebody has them
        if (directory / ENVIRONMENT).exists():
            return (directory / ENVIRONMENT).read_text()
    except FileNotFoundError:
        pass
    raise SettingsError(
        f"nothing holds the servers of {directory} up; `sqp-refresh demo --serve` in another "
        "terminal does"
    )


def require_free_port(port: int) -> None:
    """Refuse a port of loopback where something else listens.

    Raises:
        SettingsError: it is taken, or nobody may listen there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError) as error:
            raise SettingsError(
                f"port {port} of 127.0.0.1 cannot be used: {error}; choose another by "
                "`sqp-refresh demo --ui --port N`, which is `make ui PORT=N`"
            ) from None


def serve_ui(console: Console, directory: Path, port: int) -> None:
    """Serve the Dagster UI on loopback, daemon included, until it is interrupted."""
    console.print(f"Dagster UI: [bold]http://127.0.0.1:{port}[/] (Ctrl-C ends it)")
    workspace = directory.resolve() / "dagster" / "workspace.yaml"
    # It says at each start that another command, of another package, is to be preferred.
    command = [sys.executable, "-W", "ignore::FutureWarning", "-m", "dagster", "dev"]
    # Elsewhere than where a .env may be, which prevails over the environment.
    process = subprocess.Popen(
        [*command, "-w", str(workspace), "-h", "127.0.0.1", "-p", str(port)], cwd=directory
    )
    try:
        process.wait()
    except KeyboardInterrupt:
        process.wait()  # Ctrl-C has reached it too
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()


def _wait_for_no_disk(database_url: str) -> None:
    """Have Postgres, and Dagster's storage in this process, not wait until data are on the disk.

    What a power failure destroys of a demo is made again in minutes.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("SELECT pg_catalog.pg_reload_conf()")

    @event.listens_for(Engine, "connect")
    def _(connection: object, _: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous = OFF")


def _tell_the_owner(console: Console, directory: Path) -> None:
    """Say as whom Postgres runs where that is not the user, and what was opened to it."""
    owner = directory.stat().st_uid
    if owner != os.geteuid():
        console.print(
            f"as you are root, Postgres runs as the user {pwd.getpwuid(owner).pw_name}, who may "
            f"now pass through the directories above {directory}"
        )


def _forget(directory: Path, database_url: str, vendor: Vendor) -> None:
    """Remove what the demo has made: the source, the schema, and what Dagster knows."""
    with bigquery_client(vendor.emulator) as client:
        name = f"{client.project}.{vendor.dataset}.{vendor.table}"
        client.delete_table(name, not_found_ok=True, **call_deadline())
    schema = sql.Identifier(schema_name.SCHEMA)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
    shutil.rmtree(directory / "dagster", ignore_errors=True)


def _set_environment(directory: Path, database_url: str, vendor: Vendor) -> Settings:
    """Point this process, those it starts, and whoever asks, at the demo's own servers."""
    home = directory / "dagster"
    home.mkdir(exist_ok=True)
    (home / "dagster.yaml").write_text(DAGSTER_YAML)
    (home / "workspace.yaml").write_text(WORKSPACE_YAML)
    variables = {
        schema_name.SETTING: schema_name.SCHEMA,
        "DAGSTER_HOME": str(home),
        "DATABASE_URL": database_url,
        "BIGQUERY_PROJECT_ID": vendor.emulator.project,
        "BIGQUERY_DATASET": vendor.dataset,
        "BIGQUERY_EMULATOR_HOST": vendor.emulator.rest_url,
        "BIGQUERY_STORAGE_EMULATOR_HOST": vendor.emulator.storage_host,
        "REFRESH_START_DATE": str(vendor.weeks[0]),
    }
    others = sorted(Settings.model_fields.keys() - variables.keys())
    for name in others:
        os.environ.pop(name, None)
    os.environ |= variables
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    (directory / ENVIRONMENT).write_text("\n".join([f"unset {' '.join(others)}", *exports, ""]))
    return Settings.read()
