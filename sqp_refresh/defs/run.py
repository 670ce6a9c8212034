"""Runs the nightly job in this process, for people at a terminal."""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager

import dagster as dg

from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.tables import SCHEMA
from sqp_refresh.weeks import Period


def run_daily_refresh(
    defs: dg.Definitions, weeks: Sequence[Period], tables: Sequence[str], *, run_id: str
) -> bool:
    """Run the job that the schedule runs; returns whether every table succeeded.

    What happened to each table is in its audit row, under `run_id`. Ctrl-C ends the run: the table
    in hand is closed as failed at the last week published, the others are not begun. The run itself
    is kept where DAGSTER_HOME says, and forgotten where it says nothing.

    Args:
        defs: The code location.
        weeks: The first and the last of them bound the range.
        tables: Names of the tables to refresh; none means all.
        run_id: The id to give the run.
    """
    job = defs.resolve_job_def("daily_refresh")
    with _instance() as instance:
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            tags=range_tags(str(weeks[0]), str(weeks[-1])),
            asset_selection=[dg.AssetKey([SCHEMA, name]) for name in tables] or None,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )
    return result.success


def _instance() -> AbstractContextManager[dg.DagsterInstance]:
    if os.environ.get("DAGSTER_HOME"):
        return dg.DagsterInstance.get()
    return dg.DagsterInstance.ephemeral()
