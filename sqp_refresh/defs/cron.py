"""Compute the ticks of the nightly schedule from REFRESH_CRON."""

from datetime import UTC, datetime, time, timedelta
from functools import cache
from itertools import islice, pairwise, takewhile

from sqp_refresh.defs.dagster_internals import (
    cron_string_iterator,
    is_valid_cron_string,
    reverse_cron_string_iterator,
)
from sqp_refresh.errors import SettingsError
from sqp_refresh.settings import Settings

_FIELDS = 5
_TICKS = 40
"""Ticks among which the longest time between two is looked for."""


def read_cron(settings: Settings) -> str:
    """Return the schedule as a cron expression.

    Raises:
        SettingsError: REFRESH_CRON is not a cron expression, or never comes.
    """
    cron = settings.REFRESH_CRON
    if not is_valid_cron_string(cron):
        fields = len(cron.split())
        counted = f", with {fields} fields instead of 5" if fields != _FIELDS else ""
        raise SettingsError(
            f"REFRESH_CRON {cron!r} is not a cron expression{counted}; "
            "write it as minute, hour, day, month and weekday, e.g. 0 2 * * *"
        )
    if not _ever_comes(cron):
        raise SettingsError(
            f"REFRESH_CRON {cron!r} never comes: no month that it names has such a day; "
            "write it as minute, hour, day, month and weekday, e.g. 0 2 * * *"
        )
    return cron


@cache
def _ever_comes(cron: str) -> bool:
    """Return whether a cron expression has a tick in any year."""
    try:
        return next(cron_string_iterator(0, cron, "UTC"), None) is not None
    except ValueError:
        # What the iterator raises after it has looked through fifty years.
        return False


def last_tick(settings: Settings, now: datetime) -> datetime:
    """Return when the schedule last ticked, or should have.

    Raises:
        SettingsError: see `read_cron`.
    """
    ticks = reverse_cron_string_iterator(now.timestamp(), read_cron(settings), "UTC")
    return next(ticks).astimezone(UTC)


def next_tick(settings: Settings, after: datetime) -> datetime:
    """Return when the schedule ticks next, at an instant or after it.

    Raises:
        SettingsError: see `read_cron`.
    """
    ticks = cron_string_iterator(after.timestamp(), read_cron(settings), "UTC")
    return next(ticks).astimezone(UTC)


def ticks_between(settings: Settings, first: datetime, last: datetime) -> list[datetime]:
    """List when the schedule ticked between two instants, or should have, in order.

    Raises:
        SettingsError: see `read_cron`.
    """
    backwards = reverse_cron_string_iterator(last.timestamp(), read_cron(settings), "UTC")
    ticks = takewhile(lambda tick: tick >= first, backwards)
    return [tick.astimezone(UTC) for tick in ticks][::-1]


def longest_pause(settings: Settings) -> timedelta:
    """Return the longest time between two nights, e.g. over a weekend.

    Raises:
        SettingsError: see `read_cron`.
    """
    start = datetime.combine(settings.REFRESH_START_DATE, time(), UTC).timestamp()
    ticks = islice(cron_string_iterator(start, read_cron(settings), "UTC"), _TICKS)
    return max(later - tick for tick, later in pairwise(ticks))
