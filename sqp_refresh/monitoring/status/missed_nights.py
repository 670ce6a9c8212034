"""Find the nights that a table needed and did not get."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta


def find_missed_nights(
    ticks: Sequence[datetime], good_ticks: Collection[datetime], frequency_hours: int
) -> list[datetime]:
    """List the ticks at which a table was due, and after which it was not refreshed.

    A table is due as often as its frequency says, counted from the last night that went well, as
    the registry counts it; then it stays due until one does.

    Args:
        ticks: The ticks of the schedule, in order.
        good_ticks: Those of them, and earlier ones, after which the table was refreshed.
        frequency_hours: Hours between two refreshes.
    """
    frequency = timedelta(hours=frequency_hours)
    missed: list[datetime] = []
    # The nights before the first tick count too: after one of them the table may not be due yet.
    earlier = [tick for tick in good_ticks if ticks and tick < ticks[0]]
    last_good = max(earlier, default=None)
    for tick in ticks:
        if tick in good_ticks:
            last_good = tick
        elif last_good is None or tick - last_good >= frequency:
            missed.append(tick)
    return missed
