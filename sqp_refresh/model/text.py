"""Words that messages share: short listings, instants in UTC; and characters that none may have."""

import re
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


# The control characters, but for line breaks and tabs: with ESC, or with 9B, begins what a terminal
# obeys. Halves of a character, which no encoding can write. What reverses the direction of writing.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""Write out the characters that a terminal, a log or a page would obey, not show.

    >>> printable("red: \x1b[31m")
    'red: \\x1b[31m'
    """
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)
