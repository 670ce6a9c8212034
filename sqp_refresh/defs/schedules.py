"""Define the schedule of the nightly job."""

import dagster as dg

from sqp_refresh.defs.cron import read_cron
from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.defs.run_requests.scheduled import reason_to_wait, request_scheduled_run
from sqp_refresh.errors import Transient
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings


def daily_refresh_schedule(settings: Settings, catalog: Catalog) -> dg.ScheduleDefinition:
    """Define the schedule that refreshes, every night, the tables that are due.

    Raises:
        SettingsError: REFRESH_CRON is not a cron expression.
    """

    def request(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time
        try:
            if reason := reason_to_wait(settings, tick):
                return dg.SkipReason(reason)
            return request_scheduled_run(settings, catalog, tick)
        except Transient as error:
            return dg.SkipReason(
                f"the night is delayed: {error}; overdue_refreshes asks again every minute"
            )

    return dg.ScheduleDefinition(
        name="daily_refresh_schedule",
        job=daily_refresh,
        cron_schedule=read_cron(settings),
        execution_timezone="UTC",
        execution_fn=request,
        description="Refreshes the enabled tables that are due, over the look-back.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
