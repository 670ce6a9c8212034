"""How long to go on trying: with growing pauses, and only as long as it is of use."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import Retrying, retry_if_exception

from sqp_refresh.errors import Busy, Transient

ATTEMPTS = 5
LONGEST_PAUSE_S = 30


def retrying(progress: Callable[[], int] = lambda: 0, attempts: int = ATTEMPTS) -> Retrying:
    """Attempts at something until it succeeds, or fails several times in a row without progress.

    Only what is transient is tried again, and not what another refresh is busy with. Call it
    with the work, or iterate over it and do the work in `with attempt:`; the last error is raised
    as it is.

    Args:
        progress: A number that grows whenever some of the work is done for good; by default, that
            is all of it or nothing.
        attempts: How many in a row may bring no progress.
    """
    patience = _Patience(progress, progress())
    return Retrying(
        retry=retry_if_exception(patience.is_worth_another),
        stop=lambda _: patience.failures >= attempts,
        wait=lambda _: patience.pause(),
        reraise=True,
    )


@dataclass(slots=True)
class _Patience:
    """Counts the failures since anything last moved on."""

    progress: Callable[[], int]
    reached: int
    failures: int = 0

    def is_worth_another(self, error: BaseException) -> bool:
        reached = self.progress()
        self.failures = 1 if reached > self.reached else self.failures + 1
        self.reached = reached
        return isinstance(error, Transient) and not isinstance(error, Busy)

    def pause(self) -> float:
        """Seconds, twice as long after each failure in a row, with jitter."""
        return random.uniform(0.5, 1) * min(2**self.failures, LONGEST_PAUSE_S)
