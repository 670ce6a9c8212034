"""Decide which weeks a night refreshes, and which ones are left to the sensor of restatements.

A night looks at the newest weeks only, because the source restates them for some weeks and then
hardly ever. How many, the *look-back*, is REFRESH_LOOKBACK_WEEKS, or a table's own `lookback_weeks`
in its `custom_sync_params`. All tables of a night are one run over one range of weeks:

    night of tables with a look-back of 9 (the usual one) and of 6     weeks 1 to 9
    of these, the table of 9 refreshes                                 weeks 1 to 9
    of these, the table of 6 refreshes                                 weeks 1 to 6
    the sensor compares with the ledger of the table of 9              weeks 10 and older
    the sensor compares with the ledger of the table of 6              weeks 7 and older

so that no finished week of a table is forgotten. Where another table makes a night longer than the
look-back of a table without one of its own, the night and the sensor both look at some weeks.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime

from sqp_refresh.model.periods import ALL_TIME, Grain, Period, finished_weeks, periods_touched
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh.settings import Settings


def weeks_of_night(
    settings: Settings, params: Iterable[SyncParams], tick: datetime
) -> list[Period]:
    """List the weeks that a night looks at: the longest look-back of its tables.

    Args:
        settings: The usual look-back, and the first week.
        params: What each table of the night does differently; of none, the usual look-back counts.
        tick: The tick of the schedule.
    """
    lookbacks = [_lookback(settings, table) for table in params]
    longest = max(lookbacks, default=settings.REFRESH_LOOKBACK_WEEKS)
    return finished_weeks(settings.REFRESH_START_DATE, tick.astimezone(UTC).date())[-longest:]


def weeks_of_table(weeks: Sequence[Period], params: SyncParams) -> Sequence[Period]:
    """List those of a night's weeks that one of its tables refreshes.

    A table without a look-back of its own takes all of them: the query that compares the weeks of
    another table answers for these weeks, too.

    Args:
        weeks: The weeks of the night, in order.
        params: What the table does differently.
    """
    return weeks[-params.lookback_weeks :] if params.lookback_weeks else weeks


def weeks_behind(settings: Settings, params: SyncParams, today: date) -> list[Period]:
    """List the weeks before a table's look-back, which no night looks at.

    Args:
        settings: The usual look-back, and the first week.
        params: What the table does differently.
        today: The day before which a week has ended, in UTC.
    """
    weeks = finished_weeks(settings.REFRESH_START_DATE, today)
    return weeks[: -_lookback(settings, params)]


def default_weeks(settings: Settings, today: date) -> list[Period]:
    """List the weeks of a refresh that a person starts without naming any.

    Args:
        settings: The usual look-back, and the first week.
        today: The day before which a week has ended, in UTC.
    """
    return finished_weeks(settings.REFRESH_START_DATE, today)[-settings.REFRESH_LOOKBACK_WEEKS :]


def weeks_of_periods(settings: Settings, periods: Iterable[Period], today: date) -> list[Period]:
    """List the weeks up to now that touch each of some periods; the usual ones if there is none.

    Args:
        settings: The usual look-back, and the first week.
        periods: Weeks or longer periods; of a table without weeks, all time.
        today: The day before which a week has ended, in UTC.
    """
    finished = finished_weeks(settings.REFRESH_START_DATE, today)
    # The last week that begins in a period touches it, so that no older one is needed for it.
    newest_weeks = [Period.week_of(period.end) for period in periods if period != ALL_TIME]
    if not newest_weeks or not finished:
        return default_weeks(settings, today)
    oldest = min(*newest_weeks, finished[-1])
    return [week for week in finished if week >= oldest]


def periods_outside(
    weeks: Iterable[Period], periods: Iterable[Period], grain: Grain
) -> list[Period]:
    """List those of a table's periods that no refresh of these weeks touches."""
    touched = set(periods_touched(weeks, grain))
    return [period for period in periods if period not in touched]


def _lookback(settings: Settings, params: SyncParams) -> int:
    """Return how many weeks back a table looks."""
    return params.lookback_weeks or settings.REFRESH_LOOKBACK_WEEKS
