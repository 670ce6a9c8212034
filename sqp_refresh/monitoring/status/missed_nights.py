"""Which nights of a stretch of time a table needed, and did not get."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta


def missed_nights(
    ticks: Sequence[datetime], well: Collection[datetime], frequency_hours: int
) -> list[datetime]:
    """The nights that a table was due at, and that did not go well.

    A table is due as often as its frequency says, counted from the last night that went well, as
    the registry counts it; then it stays due until one does.

    Args:
        ticks: The ticks of the schedule, in order.
        well: Those, and earlier ones, that went well.
        frequency_hours: Hours between two refreshes.
    """
    frequency, missed = timedelta(hours=frequency_hours), []
    last = max((tick for tick in well if tick < min(ticks, default=tick)), default=None)
    for tick in ticks:
        if tick in well:
            last = tick
        elif last is None or tick - last >= frequency:
            missed.append(tick)
    return missed
