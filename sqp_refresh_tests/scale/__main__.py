"""`make scale`: a year's backfill by workers of Celery, one of which is killed in the middle."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import psutil
import psycopg
import typer
import yaml
from rich.console import Console

from sqp_refresh.demo.year import SUNDAYS
from sqp_refresh.settings import Settings
from sqp_refresh.tables import TABLES
from sqp_refresh_tests.deploy.machine import DEPLOY, Machine, await_that, free_ports, signal_all
from sqp_refresh_tests.scale.agencies import refresh_two_agencies
from sqp_refresh_tests.torture.__main__ import racked
from sqp_refresh_tests.torture.rack import Rack, fingerprints

QUERIES = "search_query_performance"
ENDS_WITHIN_S = 1800
console = Console(highlight=False, soft_wrap=True)


def main(
    asins: Annotated[int, typer.Option(help="How many of the year's 85 ASINs.")] = 20,
    ranges: Annotated[int, typer.Option(help="Runs that the year is spread over.")] = 8,
) -> None:
    """Refresh 52 weeks by one worker, by two, and by two of which one is killed in the middle."""
    console.print("filling a source, and refreshing it once by itself as the reference ...")
    with racked(asins) as rack:
        refresh_two_agencies(rack)
        console.print("two agencies by one release, each in its own database")
        seconds = {
            story: backfilled(rack, ranges, workers=workers, kill=kill)
            for story, workers, kill in (
                ("one worker", 1, False),
                ("two workers", 2, False),
                ("two workers, one killed", 2, True),
            )
        }
    for story, took in seconds.items():
        console.print(f"{story:26} {took:6.1f} s")
    console.print("every table equal to the source each time, one writer for each table")


def backfilled(rack: Rack, ranges: int, *, workers: int, kill: bool) -> float:
    """Seconds that a year takes in so many runs, once all is checked."""
    with (
        rack.database() as url,
        rack.database("template0") as storage,
        broker() as address,
        tempfile.TemporaryDirectory(prefix="sqp_refresh_") as home,
    ):
        machine = machine_of(Path(home), url, storage, address, workers)
        with machine.running("code", "daemon", "webserver"), ExitStack() as staff:
            at_work = [
                staff.enter_context(machine.process("worker", "--hostname", f"{number}@%h"))
                for number in range(workers)
            ]
            machine.await_code()
            machine.create_pools()
            began = time.monotonic()
            launch(machine, ranges)
            if kill:
                kill_one(url, at_work)
            await_that(lambda: done(machine, url), "every week is published", ENDS_WITHIN_S)
            took = time.monotonic() - began
        assert fingerprints(url) == rack.reference, "the tables differ from the source"
        assert_one_writer(url, workers)
        return took


def machine_of(home: Path, url: str, storage: str, address: str, workers: int) -> Machine:
    """A machine whose runs go to workers, as many at once as there are workers."""
    instance: dict[str, Any] = yaml.safe_load((DEPLOY / "celery/run_launcher.yaml").read_text())
    instance |= {
        "concurrency": yaml.safe_load((DEPLOY / "dagster.yaml").read_text())["concurrency"]
    }
    instance["concurrency"]["runs"]["max_concurrent_runs"] = workers
    switches = {name: os.environ[name] for name in Settings.model_fields if name in os.environ}
    return Machine(
        home,
        storage,
        switches | {"DATABASE_URL": url, "REFRESH_START_DATE": str(SUNDAYS[0])},
        "sqp_refresh_tests.deploy.impatient",
        instance,
        {"CELERY_BROKER_URL": address, "CELERY_RESULT_BACKEND": address},
    )


@contextmanager
def broker() -> Iterator[str]:
    """A Redis of its own, which keeps nothing."""
    (port,) = free_ports(1)
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()


def launch(machine: Machine, ranges: int) -> None:
    """One run of the nightly job for each stretch of the year."""
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
            found = connection.execute(query, (QUERIES, QUERIES, len(SUNDAYS) // 3)).fetchone()
        with suppress(psutil.NoSuchProcess):
            above = {one.pid for one in psutil.Process(found[0]).parents()} if found else set()
            return next((worker for worker in workers if worker.pid in above), None)
        return None

    killed = await_that(victim, "a worker is in the middle", ENDS_WITHIN_S)
    signal_all(killed, signal.SIGKILL)
    console.print(f"killed the worker {workers.index(killed)}, with the run that it was at")


def done(machine: Machine, url: str) -> bool:
    """Whether all weeks of all tables are published, and no run is left."""
    with psycopg.connect(url) as connection:
        weeks = connection.execute(
            "SELECT count(*) FROM sqp.refresh_periods GROUP BY table_name"
        ).fetchall()
        fresh = connection.execute(
            "SELECT count(*) FROM sqp.refresh_audit_log WHERE status = 'running'"
        ).fetchone()
    whole = len(weeks) == len(TABLES) and sum(one == (len(SUNDAYS),) for one in weeks) == 5
    return whole and fresh == (0,) and not machine.unfinished()


def assert_one_writer(url: str, workers: int) -> None:
    """No table was refreshed twice at once, and no more were than there are workers."""
    with psycopg.connect(url) as connection:
        log = connection.execute(
            "SELECT table_name, refresh_started_at, refresh_completed_at"
            " FROM sqp.refresh_audit_log WHERE status <> 'failed' ORDER BY refresh_started_at"
        ).fetchall()
    for number, (table, started, _) in enumerate(log):
        open_ones = [one[0] for one in log[:number] if one[2] > started]
        assert table not in open_ones, f"two refreshes of {table} at {started}"
        assert len(open_ones) < workers, f"more refreshes than workers at {started}"


if __name__ == "__main__":
    if not shutil.which("redis-server"):
        raise SystemExit("make scale needs redis-server: apt-get install redis-server")
    typer.run(main)
