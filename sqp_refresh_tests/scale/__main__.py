"""Backfill a year by workers of Celery, one of which is killed in the middle (`make scale`)."""

import os
import signal
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import psutil
import psycopg
import typer
import yaml
from rich.console import Console

from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.demo.year import SUNDAYS
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import TABLES
from sqp_refresh.settings import Settings
from sqp_refresh_tests.deploy.machine import DEPLOY, Machine, await_that, signal_all
from sqp_refresh_tests.scale.agencies import refresh_two_agencies
from sqp_refresh_tests.scale.broker import REDIS, broker
from sqp_refresh_tests.torture.__main__ import racked
from sqp_refresh_tests.torture.rack import Rack, fingerprints

QUERIES = "search_query_performance"
WEEKLY = [name for name, table in TABLES.items() if table.grain.published is Grain.WEEK]
ENDS_WITHIN_S = 900
CONNECTIONS_OF_A_RUN = 3
"""As docs/capacity.md counts them."""

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A backfill by so many workers, one of which may be killed in the middle."""

    name: str
    workers: int
    kill: bool = False


SCENARIOS = (
    Scenario("one worker", 1),
    Scenario("two workers", 2),
    Scenario("two workers, one killed", 2, kill=True),
)


def main(
    asins: Annotated[int, typer.Option(help="How many of the year's 85 ASINs.")] = 20,
    ranges: Annotated[int, typer.Option(help="Runs that the year is spread over.")] = 6,
) -> None:
    """Refresh 52 weeks by one worker, by two, and by two of which one is killed in the middle."""
    if REDIS is None:
        raise SystemExit("redis-server is not installed; as root: apt-get install redis-server")
    began = time.monotonic()
    console.print("52 weeks by workers of Celery; this takes about 8 minutes on 2 cores")
    console.print("filling a source, and refreshing it once by itself as the reference ...")
    try:
        with racked(asins) as rack:
            refresh_two_agencies(rack)
            console.print("two agencies by one release, each in its own database")
            for scenario in SCENARIOS:
                console.print(f"{scenario.name:24} {backfilled(rack, ranges, scenario)}")
    except AssertionError as error:
        console.print(str(error), style="red", markup=False)
        raise typer.Exit(1) from None
    minutes = (time.monotonic() - began) / 60
    console.print(f"every table equal to the source each time; {minutes:.1f} minutes in all")


def backfilled(rack: Rack, ranges: int, scenario: Scenario) -> str:
    """Backfill a year in so many runs, check the result, and describe what it took.

    Raises:
        AssertionError: the result is wrong; the message ends with the last lines of the logs.
    """
    with (
        rack.database() as url,
        rack.database("template0") as storage,
        broker() as address,
        tempfile.TemporaryDirectory(prefix="sqp_refresh_") as home,
    ):
        machine = machine_of(Path(home), url, storage, address, scenario.workers)
        try:
            seconds, connections = run_backfill(machine, url, ranges, scenario)
            assert fingerprints(url) == rack.reference, "the tables differ from the source"
            assert_one_writer(url, scenario.workers)
            assert_no_week_twice(url)
        except AssertionError as error:
            raise AssertionError(f"{scenario.name}: {error}\n{logged_last(Path(home))}") from None
    allowed = scenario.workers * CONNECTIONS_OF_A_RUN
    assert connections <= allowed, f"{connections} connections to the target, of {allowed}"
    return f"{seconds:6.1f} s, at most {connections} connections to the target of {allowed} allowed"


def run_backfill(machine: Machine, url: str, ranges: int, scenario: Scenario) -> tuple[float, int]:
    """Backfill a year; return its seconds, and the most connections of its workers at once."""
    with machine.running("code", "daemon", "webserver"), ExitStack() as staff:
        workers = [
            staff.enter_context(
                machine.process("worker", "--hostname", f"{number}@%h", DATABASE_URL=as_worker(url))
            )
            for number in range(scenario.workers)
        ]
        machine.await_code()
        machine.create_pools()
        began = time.monotonic()
        launch(machine, ranges)
        if scenario.kill:
            kill_one(url, workers)
        most = 0

        def published() -> bool:
            nonlocal most
            most = max(most, connections_of_workers(url))
            return done(machine, url)

        await_that(published, "every week is published", ENDS_WITHIN_S)
        return time.monotonic() - began, most


def machine_of(home: Path, url: str, storage: str, address: str, workers: int) -> Machine:
    """Return a machine whose runs go to workers, as many at once as there are workers."""
    instance = {
        name: yaml.safe_load((DEPLOY / "dagster.yaml").read_text())[name]
        for name in ("concurrency", "run_monitoring")
    } | yaml.safe_load((DEPLOY / "celery" / "run_launcher.yaml").read_text())
    instance["concurrency"]["runs"]["max_concurrent_runs"] = workers
    # A run whose worker was killed waits in the broker for the other worker.
    instance["run_monitoring"]["start_timeout_seconds"] = 86400
    settings = {name: os.environ[name] for name in Settings.model_fields if name in os.environ}
    return Machine(
        home,
        storage,
        settings | {"DATABASE_URL": url, "REFRESH_START_DATE": str(SUNDAYS[0])},
        "sqp_refresh_tests.deploy.impatient",
        instance,
        {"CELERY_BROKER_URL": address, "CELERY_RESULT_BACKEND": address},
    )


def launch(machine: Machine, ranges: int) -> None:
    """Launch a run of the nightly job for each range of weeks of the year."""
    bounds = [len(SUNDAYS) * number // ranges for number in range(ranges + 1)]
    for first, after in pairwise(bounds):
        machine.launch(str(SUNDAYS[first]), str(SUNDAYS[after - 1]))


def kill_one(url: str, workers: "list[subprocess.Popen[bytes]]") -> None:
    """Kill a worker, and the run on it, while it publishes the weeks in the middle."""
    query = (
        "SELECT (checkpoint_data->>'pid')::int FROM sqp.refresh_checkpoints"
        " WHERE status = 'active' AND table_name = %s"
        " AND (SELECT count(*) FROM sqp.refresh_periods WHERE table_name = %s) >= %s"
    )

    def victim() -> "subprocess.Popen[bytes] | None":
        with psycopg.connect(url) as connection:
            row = connection.execute(query, (QUERIES, QUERIES, len(SUNDAYS) // 3)).fetchone()
        with suppress(psutil.NoSuchProcess):
            parents = {parent.pid for parent in psutil.Process(row[0]).parents()} if row else set()
            return next((worker for worker in workers if worker.pid in parents), None)
        return None

    killed = await_that(victim, "a worker is in the middle", ENDS_WITHIN_S)
    signal_all(killed, signal.SIGKILL)
    console.print(f"killed the worker {workers.index(killed)}, with its run")


def done(machine: Machine, url: str) -> bool:
    """Return whether all weeks of all tables are published, and no run is left."""
    with psycopg.connect(url) as connection:
        weeks = connection.execute(
            "SELECT count(*) FROM sqp.refresh_periods GROUP BY table_name"
        ).fetchall()
        running = connection.execute(
            "SELECT count(*) FROM sqp.refresh_audit_log WHERE status = 'running'"
        ).fetchone()
    is_complete = len(weeks) == len(TABLES) and weeks.count((len(SUNDAYS),)) == len(WEEKLY)
    return is_complete and running == (0,) and not machine.unfinished(daily_refresh.name)


def as_worker(url: str) -> str:
    """Return the target's URL with the workers' application name, by which they are counted."""
    return f"{url}&application_name=worker"


def connections_of_workers(url: str) -> int:
    """Count the connections of workers to the target."""
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'worker'"
    )
    with psycopg.connect(url) as connection:
        ((number,),) = connection.execute(query).fetchall()
    return number


def logged_last(home: Path, lines: int = 5) -> str:
    """Return the last lines of each process's log."""
    ends = {log.name: log.read_text().splitlines()[-lines:] for log in home.glob("*.log")}
    return "\n".join("\n  ".join([name, *end]) for name, end in sorted(ends.items()))


def assert_one_writer(url: str, workers: int) -> None:
    """Assert that no table had two refreshes at once, and that no worker had two."""
    with psycopg.connect(url) as connection:
        log = connection.execute(
            "SELECT table_name, refresh_started_at, refresh_completed_at"
            " FROM sqp.refresh_audit_log WHERE status <> 'failed' ORDER BY refresh_started_at"
        ).fetchall()
    for number, (table, started, _) in enumerate(log):
        open_tables = [name for name, _, completed in log[:number] if completed > started]
        assert table not in open_tables, f"two refreshes of {table} at {started}"
        assert len(open_tables) < workers, f"more refreshes than workers at {started}"


def assert_no_week_twice(url: str) -> None:
    """Assert that no week was published by two runs, killed ones included."""
    query = (
        "SELECT table_name, week FROM sqp.refresh_audit_log,"
        " jsonb_array_elements_text(sync_metadata->'weeks') AS week"
        " WHERE table_name = ANY(%s) GROUP BY 1, 2 HAVING count(*) > 1"
    )
    with psycopg.connect(url) as connection:
        twice = connection.execute(query, (WEEKLY,)).fetchall()
    assert not twice, f"published twice: {twice}"


if __name__ == "__main__":
    typer.run(main)
