"""Write the results: tables on the terminal, JSON on disk."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.cases import CONTENDERS, Case
from benchmarks.measure import Measurement, medians
from benchmarks.targets import TARGETS

_PEERS = ("dlt", "sling-linux-amd64", "pandas", "psycopg", "adbc-driver-postgresql", "dagster")
_HEADINGS = {
    "seconds": "secs",
    "cpu_s": "CPU s",
    "server_cpu_s": "server CPU s",
    "peak_mb": "peak MB",
    "wal_mb": "WAL MB",
    "read_mb": "read MB",
    "spilled_mb": "spilled MB",
}


@dataclass(frozen=True, slots=True)
class Report:
    """All runs, and the conditions that they were made under.

    Attributes:
        rows: Of a first load.
        server: Version and settings of Postgres.
        runs: In the order in which they were made.
    """

    rows: int
    server: Mapping[str, str]
    runs: Sequence[Measurement]

    @property
    def medians(self) -> list[Measurement]:
        """Return one measurement for each contender and case."""
        return medians(list(self.runs))

    def figures(self) -> list[dict[str, Any]]:
        """Return the figure of each target, and whether it holds; None where not measured."""
        medians = {(run.contender, run.case): run for run in self.medians}
        values = [(target, target.value(medians)) for target in TARGETS]
        return [
            {
                "about": target.name,
                "value": value,
                "bound": target.bound,
                "holds": None if value is None else target.holds(value),
            }
            for target, value in values
        ]

    def as_json(self) -> dict[str, Any]:
        """Return everything, for programs."""
        return {
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": _machine(),
            "versions": {name: version(name) for name in _PEERS},
            "server": dict(self.server),
            "rows": self.rows,
            "contenders": {
                contender.name: contender.description for contender in CONTENDERS.values()
            },
            "figures": self.figures(),
            "medians": [asdict(run) for run in self.medians],
            "runs": [asdict(run) for run in self.runs],
        }

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        path.write_text(json.dumps(self.as_json(), indent=2) + "\n")

    def show(self, console: Console) -> None:
        """Print who did it how, what each took, and which figures are reached."""
        _show_conditions(console, self)
        for case in Case:
            if runs := [run for run in self.medians if run.case == case]:
                console.print(_of_case(case, runs))
        console.print(_of_figures(self.figures()))


def _show_conditions(console: Console, report: Report) -> None:
    console.print(", ".join(_machine().values()))
    console.print(
        "Postgres: " + ", ".join(f"{name} {value}" for name, value in report.server.items())
    )
    console.print(f"{report.rows:,} rows; medians\n")
    for contender in CONTENDERS.values():
        console.print(f"[bold]{contender.name}[/] {contender.description}")


def _of_case(case: Case, runs: Sequence[Measurement]) -> Table:
    table = Table(title=f"\n{case}", title_justify="left", box=None)
    table.add_column("", min_width=16)
    for heading in _HEADINGS.values():
        table.add_column(heading, justify="right")
    for run in runs:
        table.add_row(run.contender, *(f"{getattr(run, name):,.1f}" for name in _HEADINGS))
    return table


def _of_figures(figures: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title="\nfigures to reach", title_justify="left", box=None)
    table.add_column("")
    for heading in ("is", "should be", ""):
        table.add_column(heading, justify="right")
    labels = {True: "[green]holds[/]", False: "[red]does not hold[/]", None: "not measured"}
    for figure in figures:
        value = "" if figure["value"] is None else f"{figure['value']:,.2f}"
        table.add_row(figure["about"], value, figure["bound"], labels[figure["holds"]])
    return table


def _machine() -> dict[str, str]:
    cpuinfo = Path("/proc/cpuinfo").read_text()
    models = [line.partition(": ")[2] for line in cpuinfo.splitlines() if "model name" in line]
    return {
        "processor": models[0] if models else platform.machine(),
        "cores": f"{os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": f"Python {platform.python_version()}",
    }
