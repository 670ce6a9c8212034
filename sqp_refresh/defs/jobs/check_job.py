"""Define the job that judges every period of every table, and its weekly schedule.

A night judges the weeks that it looks at. What happens to older rows is found here; the sensor
`doubted_periods` then requests what differs.
"""

import time

import dagster as dg

from sqp_refresh.defs.asset_checks import evaluate_checks
from sqp_refresh.errors import NotFound, RefreshError
from sqp_refresh.model.text import listing
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.settings import Settings


@dg.op
def judge_every_period(context: dg.OpExecutionContext) -> None:
    """Judge every period of every table; one that cannot be judged does not keep the others."""
    unjudged, seconds = [], {}
    for table in read_catalog(Settings.read()).tables.values():
        started = time.monotonic()
        try:
            verdicts = evaluate_checks(table, None)
        except NotFound as never_refreshed:
            context.log.info(str(never_refreshed))
            continue
        except RefreshError as error:
            unjudged.append(f"{table.name}: {error}")
            continue
        seconds[f"sqp/{table.name}_seconds"] = round(time.monotonic() - started, 3)
        for verdict in verdicts:
            if verdict.ok is False:
                context.log.warning(f"{table.name}: {verdict}")
    context.add_output_metadata(seconds)
    if unjudged:
        raise dg.Failure(f"not judged: {listing(unjudged, '; ')}")


@dg.job(name="check_every_period")
def check_every_period() -> None:
    """Judge every period of every table, not only the weeks that the nights look at."""
    judge_every_period()


weekly_check_schedule = dg.ScheduleDefinition(
    name="weekly_check_schedule",
    job=check_every_period,
    cron_schedule="15 5 * * 0",
    execution_timezone="UTC",
    description="Judges every period of every table.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
