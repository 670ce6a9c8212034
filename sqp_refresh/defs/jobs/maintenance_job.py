"""Define the job that keeps the control tables small, and its schedules."""

import dagster as dg
from pydantic import Field

from sqp_refresh.control.maintenance import DUTIES, HOURLY, maintain
from sqp_refresh.defs.jobs.old_runs import delete_old_runs
from sqp_refresh.postgres.session import connect
from sqp_refresh.retrying import retrying
from sqp_refresh.settings import Settings

DAGSTER_RUNS = "dagster_runs_deleted"
WEEKLY = (*DUTIES, DAGSTER_RUNS)


class Duties(dg.Config):
    """Configuration of a run: which duties it does."""

    duties: list[str] = Field(default=[*WEEKLY], description=f"some of {', '.join(WEEKLY)}")


@dg.op
def keep_control_tables_small(context: dg.OpExecutionContext, config: Duties) -> None:
    """Close and delete checkpoints, archive old runs, delete old alerts and replayed rows."""
    settings, done = Settings.read(), dict[str, int]()
    for attempt in retrying():
        with attempt, connect(settings.database_url) as session:
            done = maintain(session, settings, [duty for duty in config.duties if duty in DUTIES])
    if DAGSTER_RUNS in config.duties:
        done[DAGSTER_RUNS] = delete_old_runs(context.instance, settings)
    context.add_output_metadata({f"sqp/{duty}": rows for duty, rows in done.items()})


@dg.job(name="maintenance")
def maintenance() -> None:
    """Keep the control tables small: checkpoints, audit log, alerts and quarantine."""
    keep_control_tables_small()


def maintenance_schedules() -> list[dg.ScheduleDefinition]:
    """Define when expired checkpoints are closed, hourly, and all else is done, weekly."""
    return [
        _schedule("hourly_maintenance_schedule", "15 * * * *", HOURLY),
        _schedule("weekly_maintenance_schedule", "45 4 * * 0", WEEKLY),
    ]


def _schedule(name: str, cron: str, duties: tuple[str, ...]) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name=name,
        job=maintenance,
        cron_schedule=cron,
        execution_timezone="UTC",
        run_config=dg.RunConfig({keep_control_tables_small.name: Duties(duties=[*duties])}),
        description=f"Sees to {', '.join(duties)}.".replace("_", " "),
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
