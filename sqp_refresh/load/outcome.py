"""What publishing a part comes to."""

from dataclasses import dataclass

from sqp_refresh.inventory import Inventory
from sqp_refresh.load.counts import Counts


@dataclass(frozen=True, slots=True)
class Landed:
    """What publishing a part did.

    Attributes:
        counts: Its rows.
        inventory: What the table holds of its period now.
        fingerprints: What the rows are made of, to be kept; None where that would not tell them
            apart.
    """

    counts: Counts
    inventory: Inventory
    fingerprints: bytes | None = None


class Undecided(Exception):
    """A part of a period's rows does not tell what became of it: it must be compared whole."""
