"""Prepare whole nights: the command that people run, and a Dagster job that does nothing.

python -m benchmarks.night     runs a job of eight empty assets in process
"""

import sys
from pathlib import Path

import dagster as dg

from benchmarks.command import Command
from benchmarks.rows import Rows
from sqp_refresh.model.tables import TABLES

LOOKBACK = ("--from", "2025-06-15", "--to", "2025-08-10")
"""The nine weeks that end with the demo's year."""

SQP_REFRESH = str(Path(sys.executable).with_name("sqp-refresh"))


def night(url: str, rows: Rows) -> Command:
    """sqp-refresh refresh over the look-back: all eight tables and their checks."""
    return Command((SQP_REFRESH, "refresh", *LOOKBACK, "--json"), {"DATABASE_URL": url})


def empty_job(url: str, rows: Rows) -> Command:
    """A Dagster job of eight assets that do nothing, in process."""
    return Command((sys.executable, "-m", "benchmarks.night"), {})


def main() -> None:
    """Run the empty job as `sqp-refresh refresh` runs ours."""

    def nothing() -> None:
        pass

    assets = [dg.asset(name=name)(nothing) for name in TABLES]
    job = dg.define_asset_job("empty", dg.AssetSelection.assets(*assets))
    defs = dg.Definitions(assets=assets, jobs=[job], executor=dg.in_process_executor)
    with dg.DagsterInstance.ephemeral() as instance:
        quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        defs.resolve_job_def("empty").execute_in_process(instance=instance, run_config=quiet)


if __name__ == "__main__":
    main()
