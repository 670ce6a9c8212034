"""Read ahead: while Postgres takes one batch, the next is read and made ready in a thread.

The next may be of the next period. A period ends as soon as its own rows do: no transaction waits
for rows of another one, and what befalls the reading of a period leaves those before it alone.
"""

import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, Generic, Protocol, Self, TypeVar


class Batched(Protocol):
    """Something with batches that are read once."""

    def batches(self) -> Iterable[Any]:
        """Return its batches; none where it has none."""
        ...

    def with_batches(self, batches: Iterator[Any]) -> Self:
        """Return the same, with batches that come from elsewhere."""
        ...


P = TypeVar("P", bound=Batched)


def prefetch(periods: Iterable[P]) -> Generator[P]:
    """Return the same periods, in order, read by a thread one batch ahead of what is used up.

    What reading them raises is raised here, in its place: to whoever takes the batches of that
    period, and again in place of the next period. What a period leaves unread is passed over.
    """
    queue: PrefetchQueue[P] = PrefetchQueue()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="prefetch") as reader:
        reader.submit(queue.fill, periods)
        try:
            for period in queue.periods():
                batches = queue.batches()
                yield period.with_batches(batches)
                for _ in batches:
                    pass
        finally:
            queue.stop()


@dataclass(slots=True)
class PrefetchQueue(Generic[P]):
    """What goes from one thread to the other: a period, its batches, None; after the last, None.

    It holds one batch at most.
    """

    _items: SimpleQueue = field(default_factory=SimpleQueue)
    _taken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _is_stopped: bool = False

    def fill(self, periods: Iterable[P]) -> None:
        """Read all of them, or until it is stopped."""
        try:
            for period in periods:
                self._items.put(period)
                for batch in period.batches():
                    self._items.put(batch)
                    # The next batch is read only once this one is being written.
                    self._taken.acquire()
                    if self._is_stopped:
                        return
                self._items.put(None)
                if self._is_stopped:
                    return
            self._items.put(None)
        except BaseException as error:
            self._items.put(error)

    def periods(self) -> Iterator[P]:
        """Return the periods, each once all batches of the one before are taken."""
        return iter(self._take, None)

    def batches(self) -> Iterator[Any]:
        """Return the batches of the period that came last."""
        for batch in iter(self._take, None):
            self._taken.release()
            yield batch

    def stop(self) -> None:
        """Read nothing more."""
        self._is_stopped = True
        self._taken.release()

    def _take(self) -> Any:  # noqa: ANN401, a period or one of its batches, as the place has it
        item = self._items.get()
        if isinstance(item, BaseException):
            # Nothing comes after it, so that whoever asks once more gets it again.
            self._items.put(item)
            raise item
        return item
