"""Tune Python's garbage collector for processes that keep nearly everything they create.

Dagster, pandas and the client libraries create many objects at import, and all of them stay until
the process ends. Searching these for garbage costs time and finds nothing.
"""

import atexit
import gc

COLLECTION_THRESHOLD = 50_000
"""Number of new objects after which Python searches for garbage. With its default of 700, a tenth
of a night's time is spent searching modules and definitions, none of which is ever freed."""


def collect_less_often() -> None:
    """Search for garbage only after many new objects."""
    gc.set_threshold(COLLECTION_THRESHOLD)


def skip_collection_at_exit() -> None:
    """Leave all objects to the operating system when the process ends.

    The interpreter would search all of them first, which takes most of a second.
    """
    atexit.register(gc.freeze)
