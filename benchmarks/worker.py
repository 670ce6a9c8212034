"""Measure one run in a process of its own, so that its peak memory is its own.

    python -m benchmarks.worker CONTENDER DATABASE_URL ROWS

Prints what the run took, as JSON. The file of rows is read, and brought into the form that the
contender needs, before the clock starts.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.command import Command

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Took:
    """What a run used in its own process.

    Attributes:
        seconds: On the wall.
        cpu_s: Seconds of CPU, all threads.
        peak_mb: The most memory that was resident at once, libraries and all.
    """

    seconds: float
    cpu_s: float
    peak_mb: float


def main() -> None:
    """Prepare, run, and print what the run took."""
    from benchmarks.cases import CONTENDERS
    from benchmarks.rows import Rows

    name, url, path = sys.argv[1:]
    load = CONTENDERS[name].prepare(url, Rows(Path(path)))
    took = _run(load) if isinstance(load, Command) else _call(load)
    print(json.dumps(asdict(took)))  # noqa: T201, it is read from there


def _call(load: Callable[[], None]) -> Took:
    before, started = _cpu_s(resource.RUSAGE_SELF), time.perf_counter()
    load()
    seconds = time.perf_counter() - started
    return Took(seconds, _cpu_s(resource.RUSAGE_SELF) - before, _peak_mb("self"))


def _run(command: Command) -> Took:
    peak, started = 0.0, time.perf_counter()
    environment = os.environ | command.environment
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command.arguments, env=environment, stdout=output, stderr=output)
        while process.poll() is None:
            # Its share of `getrusage` would begin with our own memory, which it was forked from.
            peak = max(peak, _peak_mb(str(process.pid)))
            time.sleep(POLL_S)
        seconds = time.perf_counter() - started
        if process.returncode:
            output.seek(0)
            raise SystemExit(f"{' '.join(command.arguments)} failed: {output.read()}")
    return Took(seconds, _cpu_s(resource.RUSAGE_CHILDREN), peak)


def _cpu_s(who: int) -> float:
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def _peak_mb(process: str) -> float:
    """Return the peak memory of a process, 0 if it has just ended."""
    for line in Path("/proc", process, "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    main()
