"""What is said of one thing that was looked at, in one line."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sqp_refresh.errors import RefreshError

# A message names no more of a kind than this.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at: whether it is as it should be, and what there is to say."""

    about: str
    ok: bool
    said: str

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)


def diagnose(about: str, look: Callable[[], str]) -> Diagnosis:
    """What a look at something says: what it returns where all is well, or the error it raises."""
    try:
        return Diagnosis(about, True, look())
    except RefreshError as error:
        return Diagnosis(about, False, str(error))


def named(names: Iterable[str]) -> str:
    """The first few of some names, and how many more there are."""
    every = list(names)
    more = len(every) - _NAMED
    return ", ".join(every[:_NAMED]) + (f" and {more} more" if more > 0 else "")
