"""Retry what fails for a while, with growing pauses, as long as it makes progress."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from tenacity import Retrying, retry_if_exception

from sqp_refresh.errors import Busy, Transient

MAX_ATTEMPTS = 5
LONGEST_PAUSE_S = 30


def retrying(
    completed: Callable[[], int] = lambda: 0, max_attempts: int = MAX_ATTEMPTS
) -> Retrying:
    """Attempt some work until it succeeds, or fails several times in a row without progress.

    Only a `Transient` error is tried again, and of these not `Busy`: another refresh is doing the
    work then. The last error is raised as it is. Either call the result with the work, or iterate:

        for attempt in retrying(lambda: len(published)):
            with attempt:
                publish_next(published)

    Args:
        completed: Return how much of the work is completed for good, as a number that only grows.
            By default an attempt does all of the work or none of it.
        max_attempts: Attempts in a row that may complete nothing more before the error is raised.
    """
    failures = _Failures(completed, completed())
    return Retrying(
        retry=retry_if_exception(failures.record),
        stop=lambda _: failures.in_a_row >= max_attempts,
        wait=lambda _: failures.pause_s(),
        reraise=True,
    )


@dataclass(slots=True)
class _Failures:
    """The failed attempts since the work last made progress.

    Attributes:
        completed: Return how much of the work is completed.
        last_completed: How much was completed when an attempt last failed.
        in_a_row: Number of failed attempts since that grew.
    """

    completed: Callable[[], int]
    last_completed: int
    in_a_row: int = 0

    def record(self, error: BaseException) -> bool:
        """Count a failed attempt, and return whether its error is worth another one."""
        completed = self.completed()
        self.in_a_row = 1 if completed > self.last_completed else self.in_a_row + 1
        self.last_completed = completed
        return isinstance(error, Transient) and not isinstance(error, Busy)

    def pause_s(self) -> float:
        """Return the seconds to wait: twice as long after each failure in a row, with jitter."""
        return random.uniform(0.5, 1) * min(2**self.in_a_row, LONGEST_PAUSE_S)
