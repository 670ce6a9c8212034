"""Measure whole nights: an embedded BigQuery with the demo's year, and all eight tables."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from benchmarks.cases import NIGHTS, Case
from benchmarks.measure import Measurement, measure
from benchmarks.night import SQP_REFRESH
from benchmarks.server import Server
from sqp_refresh.demo.servers import embedded_bigquery
from sqp_refresh.demo.source_table import fill_source
from sqp_refresh.postgres import migrate
from sqp_refresh.settings import Settings

DATASET = "benchmark"
PROJECT = "benchmark-project"

_WHOLE = "night_whole"
_BUT_ONE = "night_but_one"
_WEEKS = {_BUT_ONE: "2025-08-03", _WHOLE: "2025-08-10"}
"""The tables up to which week: the demo's year, and that without its last week."""
_DATABASE_BEFORE = {Case.UNCHANGED_NIGHT: _WHOLE, Case.NEW_WEEK_NIGHT: _BUT_ONE}
_DATABASE = "night"


def nights(console: Console, server: Server, directory: Path, runs: int) -> list[Measurement]:
    """Measure whole nights in turn, each on the tables as they are before such a night."""
    done: list[Measurement] = []
    with embedded_bigquery(directory / "bigquery", project=PROJECT) as emulator:
        fill_source(emulator, DATASET, Settings.model_fields["BIGQUERY_SOURCE_TABLE"].default)
        settings = {
            "BIGQUERY_PROJECT_ID": PROJECT,
            "BIGQUERY_DATASET": DATASET,
            "BIGQUERY_EMULATOR_HOST": emulator.rest_url,
            "BIGQUERY_STORAGE_EMULATOR_HOST": emulator.storage_host,
        }
        with _only_settings(settings):
            console.print("refreshing a year, for the nights to come after ...")
            _refresh_year(server)
            for number in range(runs + 1):
                for contender, case in NIGHTS:
                    url = server.make_database(_DATABASE, like=_DATABASE_BEFORE[case])
                    server.settle(_DATABASE)
                    measurement = measure(server, contender, case, url, directory)
                    console.print(f"{contender}: {case}, {measurement.seconds:.1f} s")
                    # The first of each is the warm-up.
                    done += [measurement] if number else []
    for name in (_DATABASE, *_WEEKS):
        server.drop_database(name)
    return done


def _refresh_year(server: Server) -> None:
    like = "template0"
    for name, last in _WEEKS.items():
        url = server.make_database(name, like=like)
        migrate.upgrade(url)
        command = (SQP_REFRESH, "refresh", "--from", "2024-08-18", "--to", last, "--json")
        environment = os.environ | {"DATABASE_URL": url}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        like = name


@contextmanager
def _only_settings(settings: Mapping[str, str]) -> Iterator[None]:
    """Set these settings and no others for the processes that are started meanwhile."""
    before = dict(os.environ)
    for name in (*Settings.model_fields, "DAGSTER_HOME"):
        os.environ.pop(name, None)
    os.environ |= settings
    try:
        yield
    finally:
        os.environ.clear()
        os.environ |= before
