"""Run a contender in a process of its own, and measure what that costs it and the server."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.cases import Case
from benchmarks.server import Server

MB = 1e6


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run cost.

    Attributes:
        contender: Who ran.
        case: What it did.
        seconds: On the wall.
        cpu_s: Seconds of CPU of the process.
        server_cpu_s: Seconds of CPU of Postgres, all of its processes.
        peak_mb: The most memory that the process had at once.
        wal_mb: Write-ahead log.
        read_mb: Pages that Postgres did not have in its buffers.
        spilled_mb: Sorts and hashes that did not fit into Postgres's memory.
    """

    contender: str
    case: str
    seconds: float
    cpu_s: float
    server_cpu_s: float
    peak_mb: float
    wal_mb: float
    read_mb: float
    spilled_mb: float


NUMBERS = tuple(Measurement.__dataclass_fields__)[2:]


def measure(server: Server, contender: str, case: Case, url: str, rows: Path) -> Measurement:
    """Measure one run.

    Raises:
        subprocess.CalledProcessError: it failed; its messages went to standard error.
    """
    before = server.spent()
    command = [sys.executable, "-m", "benchmarks.worker", contender, url, str(rows)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    took = json.loads(output.splitlines()[-1])
    spent = server.spent() - before
    return Measurement(
        contender,
        case,
        server_cpu_s=spent.cpu_s,
        wal_mb=spent.wal / MB,
        read_mb=spent.read / MB,
        spilled_mb=spent.spilled / MB,
        **took,
    )


def medians(runs: list[Measurement]) -> list[Measurement]:
    """Return the median of each number for each contender and case, in the order of the runs."""
    grouped: dict[tuple[str, str], list[Measurement]] = {}
    for run in runs:
        grouped.setdefault((run.contender, run.case), []).append(run)
    return [
        Measurement(*key, **{name: median(getattr(run, name) for run in group) for name in NUMBERS})
        for key, group in grouped.items()
    ]
