"""How often Python looks for garbage in a process of ours, which keeps nearly all that it makes."""

import atexit
import gc

NEW_OBJECTS = 50_000
"""How many objects are made between two looks. With the 700 that Python comes with, a tenth of a
night's time is spent looking through modules and definitions, none of which ever goes."""


def look_rarely() -> None:
    """Look through what is new only when much of it is."""
    gc.set_threshold(NEW_OBJECTS)


def end_at_once() -> None:
    """Leave what there is at the end of the process to the operating system.

    The interpreter would look through all of it first, for most of a second.
    """
    atexit.register(gc.freeze)
