"""Words that messages share: short listings, instants in UTC, counts."""

from collections.abc import Iterable
from datetime import datetime

LISTED = 3
"""A message names no more of one kind than this."""


def listing(items: Iterable[object], separator: str = ", ") -> str:
    """Name the first few of some items, and say how many more there are.

    >>> listing(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    texts = [str(item) for item in items]
    more = len(texts) - LISTED
    return separator.join(texts[:LISTED]) + (f" and {more} more" if more > 0 else "")


def utc_minute(instant: datetime) -> str:
    """Write an instant that is in UTC to the minute: 2026-01-31 02:00 UTC."""
    return f"{instant:%Y-%m-%d %H:%M} UTC"
