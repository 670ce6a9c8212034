"""How often Python looks for garbage in a process of ours, which keeps nearly all that it makes."""

import gc

NEW_OBJECTS = 50_000
"""How many objects are made between two looks. With the 700 that Python comes with, a tenth of a
night's time is spent looking through modules and definitions, none of which ever goes."""


def look_rarely() -> None:
    """Look through what is new only when much of it is."""
    gc.set_threshold(NEW_OBJECTS)


def look_no_more() -> None:
    """For a process that ends: the operating system takes everything back at once.

    The interpreter would look through it first, for most of a second.
    """
    gc.freeze()
