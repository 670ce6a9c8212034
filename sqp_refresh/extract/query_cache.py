"""Run the queries of one run, each once: the tables that need the same result share it.

A query runs in a thread, so that something else can be done until its result is there. Whoever owns
a run owns one `RunQueries`, and every table of the run gets it: see `refresh.sources`.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class QueryResult(Generic[T]):
    """The result of a query.

    Attributes:
        value: What it found.
        bytes_billed: What it has cost.
    """

    value: T
    bytes_billed: int


class PendingQuery(Generic[T]):
    """A query that runs, or has run, for one table or for several."""

    def __init__(self, future: "Future[QueryResult[T]]") -> None:
        self._future = future
        self._is_billed = False

    def result(self) -> T:
        """Wait for the result; what went wrong is raised."""
        return self._future.result().value

    def bytes_billed(self) -> int | None:
        """Return the bytes that it has cost, to the first who asks; None to all others."""
        if self._is_billed:
            return None
        self._is_billed = True
        return self._future.result().bytes_billed

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self._future.done()

    @property
    def has_failed(self) -> bool:
        """Whether waiting for the result is of no use."""
        return self.is_done and self._future.exception() is not None


class RunQueries:
    """The queries of one run, by what they ask, of what, and as of when.

    Attributes:
        as_of: When the tables of the run read the source as of, unless they were told; None as long
            as none has asked.
    """

    def __init__(self) -> None:
        self.as_of: datetime | None = None
        self._pending: dict[Hashable, PendingQuery[Any]] = {}
        self._done: set[Hashable] = set()
        self._lock = threading.Lock()

    def decide_as_of(self, now: datetime) -> datetime:
        """Return when to read the source as of: the time when a table of the run first asked."""
        with self._lock:
            self.as_of = self.as_of or now
            return self.as_of

    def is_first(self, key: Hashable) -> bool:
        """Return whether something that the tables of a run do once is still to be done."""
        with self._lock:
            is_first = key not in self._done
            self._done.add(key)
            return is_first

    def start(self, key: Hashable | None, query: Callable[[], QueryResult[T]]) -> PendingQuery[T]:
        """Begin to run a query; one that runs or has run already is run again only if it failed.

        Args:
            key: What is asked, of what, and as of when; None where the result might be another one
                the next time, so that it must not be shared.
            query: What gets the result.
        """
        if key is None:
            return PendingQuery(run_in_thread(query))
        with self._lock:
            if key not in self._pending or self._pending[key].has_failed:
                self._pending[key] = PendingQuery(run_in_thread(query))
            return self._pending[key]


def run_in_thread(query: Callable[[], T]) -> "Future[T]":
    """Call in a thread; `result()` waits for what that returns, or raises what it raised.

    The thread keeps no process alive: nobody has to wait for a result that nobody needs any more.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(query())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="bigquery", daemon=True).start()
    return future
