"""When the nightly job runs."""

from datetime import UTC, datetime, time, timedelta
from itertools import islice, pairwise

import dagster as dg
from dagster._utils.schedules import cron_string_iterator, is_valid_cron_string

from sqp_refresh.catalog import Catalog
from sqp_refresh.defs.jobs import daily_refresh
from sqp_refresh.defs.nights import night_request
from sqp_refresh.errors import SettingsError, Transient
from sqp_refresh.settings import Settings

_TICKS = 40
"""Ticks of the schedule that are looked at for the longest pause between two."""


def daily_refresh_schedule(settings: Settings, catalog: Catalog) -> dg.ScheduleDefinition:
    """Every night, the tables that are due: Amazon delivers late, and restates for 40 days.

    Raises:
        SettingsError: REFRESH_CRON is not a cron expression.
    """

    def due_tables(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        try:
            return night_request(settings, catalog, context.scheduled_execution_time)
        except Transient as error:
            return dg.SkipReason(
                f"the night is delayed: {error}; overdue_refreshes asks again every minute"
            )

    return dg.ScheduleDefinition(
        name="daily_refresh_schedule",
        job=daily_refresh,
        cron_schedule=_cron(settings),
        execution_timezone="UTC",
        execution_fn=due_tables,
        description="Refreshes the enabled tables that are due, over the look-back.",
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )


def longest_pause(settings: Settings) -> timedelta:
    """The longest time between two nights, e.g. over a weekend.

    Raises:
        SettingsError: REFRESH_CRON is not a cron expression.
    """
    start = datetime.combine(settings.REFRESH_START_DATE, time(), UTC).timestamp()
    ticks = islice(cron_string_iterator(start, _cron(settings), "UTC"), _TICKS)
    return max(later - tick for tick, later in pairwise(ticks))


def _cron(settings: Settings) -> str:
    if not is_valid_cron_string(settings.REFRESH_CRON):
        raise SettingsError(
            f"REFRESH_CRON {settings.REFRESH_CRON!r} is not a cron expression; "
            "write it as minute, hour, day, month and weekday, e.g. 0 2 * * *"
        )
    return settings.REFRESH_CRON
