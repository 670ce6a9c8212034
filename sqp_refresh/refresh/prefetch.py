"""Reading ahead: while Postgres takes one batch, the next is read and made ready in a thread.

The next may be of the next part. A part ends as soon as its own rows do: no transaction waits for
rows of another one, and what befalls the reading of a part leaves those before it alone.
"""

import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqp_refresh.model.rows import PeriodRows, SourceBatches, SqlRows

if TYPE_CHECKING:
    import pyarrow as pa

P = TypeVar("P", bound=PeriodRows)


def ahead(parts: Iterable[P]) -> Generator[P]:
    """The same parts, in order, read by a thread as they are used up, and one batch ahead of that.

    What reading them raises is raised here, in its place. What a part leaves unread is passed over.

    Args:
        parts: Parts of queries or of Arrow batches with our names and types.
    """
    belt: _Belt[P] = _Belt()
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="ahead") as reader:
        reader.submit(belt.fill, parts)
        try:
            for part in belt.parts():
                batches = belt.batches()
                yield _of(part, batches)
                for _ in batches:
                    pass
        finally:
            belt.stop()


def _of(part: P, batches: "Iterator[pa.RecordBatch]") -> P:
    if isinstance(part.rows, SqlRows | SourceBatches):
        return part
    # Only rows need Arrow, which takes a while to import.
    import pyarrow as pa

    return replace(part, rows=pa.RecordBatchReader.from_batches(part.rows.schema, batches))


@dataclass(slots=True)
class _Belt(Generic[P]):
    """What goes from one thread to the other: a part, its batches, and None; after the last, None.

    It holds one batch at most.
    """

    _items: SimpleQueue = field(default_factory=SimpleQueue)
    _is_taken: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _is_stopped: bool = False

    def fill(self, parts: Iterable[P]) -> None:
        """Read all of them, or until it is stopped."""
        try:
            for part in parts:
                self._items.put(part)
                for batch in () if isinstance(part.rows, SqlRows | SourceBatches) else part.rows:
                    self._items.put(batch)
                    self._is_taken.acquire()
                    if self._is_stopped:
                        return
                self._items.put(None)
                if self._is_stopped:
                    return
            self._items.put(None)
        except BaseException as error:
            self._items.put(error)

    def parts(self) -> Iterator[P]:
        """The parts, each once all batches of the one before are taken."""
        return iter(self._take, None)

    def batches(self) -> "Iterator[pa.RecordBatch]":
        """The batches of the part that came last."""
        for batch in iter(self._take, None):
            self._is_taken.release()
            yield batch

    def stop(self) -> None:
        """Read nothing more."""
        self._is_stopped = True
        self._is_taken.release()

    def _take(self) -> Any:  # noqa: ANN401, a part or one of its batches, as the place has it
        item = self._items.get()
        if isinstance(item, BaseException):
            raise item
        return item
