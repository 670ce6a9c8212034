"""Run the benchmark.

    python -m benchmarks [--rows N] [--runs N] [--quick] [--only NAME ...]

A warm-up comes first, whose runs are not counted; then each contender in turn, in each run. All
files are kept in `.bench`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import peers
from benchmarks.cases import LANES, NIGHTS, SLOPE, Case, Lane
from benchmarks.measure import Measurement, measure
from benchmarks.nights import nights
from benchmarks.plot import plot
from benchmarks.report import Report
from benchmarks.rows import PER_WEEK, SMALL_WEEK, Rows, write_rows
from benchmarks.server import Server, durable_postgres
from sqp_refresh.postgres import migrate

MILLION = 1_000_000
QUICK = 100_000
EMPTY = "bench_empty"
DATABASE = "bench"

console = Console()


@dataclass(slots=True)
class Bench:
    """The server, the rows, and what has been measured so far."""

    server: Server
    directory: Path
    weeks: int
    runs: list[Measurement] = field(default_factory=list)

    def make_ready(self) -> None:
        """Write the files of rows, migrate an empty database, and load each file as a warm-up."""
        console.print("making the rows ...")
        write_rows(self._file(Case.FIRST), self.weeks)
        write_rows(self._file(Case.CHANGED), self.weeks, changed=True)
        write_rows(self._file(Case.WEEK), 1, first=self.weeks, per_week=SMALL_WEEK)
        write_rows(self._file(Case.SLOPE), 5 * self.weeks)
        migrate.upgrade(self.server.make_database(EMPTY))
        self._export()

    def _export(self) -> None:
        """Let the server write the files that it copies from, from what the engine published."""
        folder = self.directory / "server"
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        url = self.server.make_database(DATABASE, like=EMPTY)
        for case in (Case.FIRST, Case.CHANGED, Case.WEEK):
            measure(self.server, "sqp_refresh", case, url, self._file(case))
            peers.export(url, Rows(self._file(case)))

    def run(self, lane: Lane) -> None:
        """Measure all runs of a lane on a database of its own."""
        url = self.server.make_database(DATABASE, like=EMPTY)
        for contender, case in lane:
            self.server.settle(DATABASE)
            with console.status(f"{contender}: {case} ..."):
                measurement = measure(self.server, contender, case, url, self._file(case))
            console.print(f"{contender}: {case}, {measurement.seconds:.1f} s")
            self.runs.append(measurement)

    def _file(self, case: Case) -> Path:
        rows = self.weeks * PER_WEEK
        name = {
            Case.CHANGED: f"{rows}-changed",
            Case.WEEK: f"{rows}-week",
            Case.SLOPE: f"{5 * rows}",
        }.get(case, f"{rows}")
        return self.directory / f"{name}.arrow"


def main(
    rows: Annotated[int, typer.Option(help="Rows of a first load, in weeks of 20,000.")] = MILLION,
    runs: Annotated[int, typer.Option(min=1, help="How often each is measured.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="100,000 rows, twice.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only these contenders.")] = None,
    directory: Annotated[Path, typer.Option("--dir", help="Where it keeps its data.")] = Path(
        ".bench"
    ),
) -> None:
    """Measure the engine, its peers and the limit; print which figures are reached."""
    rows, runs = (QUICK, 2) if quick else (rows, runs)
    directory = directory.resolve()
    directory.mkdir(exist_ok=True)
    with durable_postgres(directory / "postgres") as server:
        bench = Bench(server, directory, max(1, rows // PER_WEEK))
        bench.make_ready()
        for number in range(1, runs + 1):
            console.print(f"[bold]run {number} of {runs}[/]")
            for lane in (*LANES, SLOPE):
                if _is_selected(lane, only):
                    bench.run(lane)
        server.drop_database(DATABASE)
        if _is_selected(NIGHTS, only):
            bench.runs += nights(console, server, directory, runs)
        report = Report(bench.weeks * PER_WEEK, server.describe(), bench.runs)
    report.show(console)
    report.write(directory / "result.json")
    plot(report, directory / "result.html")
    console.print(f"\nwritten: {directory}/result.json and result.html")


def _is_selected(lane: Lane, only: list[str] | None) -> bool:
    return not only or any(name in only for name, _ in lane)


if __name__ == "__main__":
    typer.run(main)
