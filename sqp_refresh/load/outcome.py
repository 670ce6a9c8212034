"""What publishing a part comes to."""

from dataclasses import dataclass

from sqp_refresh.load.counts import Counts


@dataclass(frozen=True, slots=True)
class Landed:
    """What publishing a part did.

    Attributes:
        counts: Its rows.
        fingerprints: Those of all rows that the target holds now, to be kept; None where they
            would not tell the rows apart.
        are_as_known: Whether these are the ones that were known before.
    """

    counts: Counts
    fingerprints: bytes | None = None
    are_as_known: bool = False


class Undecided(Exception):
    """Fingerprints alone do not tell what became of a period: it must be compared whole."""
