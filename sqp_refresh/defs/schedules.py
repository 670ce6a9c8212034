"""When the nightly job runs, and over which weeks."""

import dagster as dg

from sqp_refresh.defs.jobs import daily_refresh
from sqp_refresh.defs.partitions import range_tags, weekly_partitions
from sqp_refresh.errors import SettingsError
from sqp_refresh.settings import Settings


def daily_refresh_schedule(settings: Settings) -> dg.ScheduleDefinition:
    """Every night, the weeks of the look-back: Amazon delivers late, and restates for 40 days.

    Raises:
        SettingsError: REFRESH_CRON is not a cron expression.
    """
    weeks = weekly_partitions(settings.REFRESH_START_DATE)

    def look_back(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        finished = weeks.get_partition_keys(current_time=context.scheduled_execution_time)
        recent = finished[-settings.REFRESH_LOOKBACK_WEEKS :]
        if not recent:
            return dg.SkipReason(f"no week since {settings.REFRESH_START_DATE} has ended yet")
        return dg.RunRequest(tags=range_tags(recent[0], recent[-1]))

    try:
        return dg.ScheduleDefinition(
            name="daily_refresh_schedule",
            job=daily_refresh,
            cron_schedule=settings.REFRESH_CRON,
            execution_timezone="UTC",
            execution_fn=look_back,
            default_status=dg.DefaultScheduleStatus.RUNNING,
        )
    except dg.DagsterInvalidDefinitionError:
        raise SettingsError(
            f"REFRESH_CRON {settings.REFRESH_CRON!r} is not a cron expression; "
            "write it as minute, hour, day, month and weekday, e.g. 0 2 * * *"
        ) from None
