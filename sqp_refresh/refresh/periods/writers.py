"""Load periods by several writers at once, each with a connection of its own.

    periods ─▶ PeriodQueue ─┬▶ writer: read ahead ─▶ publish
                            └▶ writer: read ahead ─▶ publish

The first writer is the refresh itself, on its own connection and in its own thread. The others need
a connection each; where Postgres or its pooler has none left, the refresh goes on without them.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from sqp_refresh.control import checkpoints, proofs
from sqp_refresh.control.checkpoints import Checkpoint
from sqp_refresh.control.proofs import ProofChain
from sqp_refresh.errors import NoConnection
from sqp_refresh.model.periods import Period
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.result import RefreshState

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Writer:
    """What publishes periods, one after the other.

    Attributes:
        session: Its connection.
        checkpoint: The checkpoint, with the row that it alone writes to.
        chain: The certificates of the table, which all writers add to.
    """

    session: Session
    checkpoint: Checkpoint
    chain: ProofChain


@dataclass(slots=True)
class PeriodQueue:
    """The periods that no writer has taken yet, in order of time."""

    _left: deque[Period]
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _is_stopped: bool = False

    @classmethod
    def of(cls, periods: Sequence[Period]) -> "PeriodQueue":
        """Return a queue of these periods."""
        return cls(deque(periods))

    def __bool__(self) -> bool:
        """Return whether there is something left to take."""
        return bool(self._left) and not self._is_stopped

    def take(self) -> Period | None:
        """Take the next period; None where none is left."""
        with self._lock:
            return self._left.popleft() if self else None

    def put_back(self, periods: Sequence[Period]) -> None:
        """Let others have periods that were taken, and not loaded."""
        with self._lock:
            self._left.extendleft(reversed(periods))

    def stop(self) -> None:
        """Give out nothing more."""
        self._is_stopped = True


@dataclass(slots=True)
class TakenPeriods:
    """The periods that one writer takes: an iterator that knows which of them are not done yet."""

    queue: PeriodQueue
    _open: list[Period] = field(default_factory=list)

    def __iter__(self) -> Iterator[Period]:
        """Take one after the other, each once it is asked for."""
        while (period := self.queue.take()) is not None:
            self._open.append(period)
            yield period

    def done(self, period: Period) -> None:
        """Note that a period needs no other look."""
        self._open.remove(period)

    def put_back(self) -> None:
        """Let others have those that are not done."""
        self.queue.put_back(self._open)
        self._open = []


@contextmanager
def open_writers(
    database_url: str, session: Session, state: RefreshState
) -> Iterator[Sequence[Writer]]:
    """Open as many writers as the plan asks for, or as there are connections for.

    Args:
        database_url: Where the target is.
        session: The session of the refresh, in no transaction.
        state: The refresh.
    """
    with ExitStack() as connections:
        sessions = [session, *_connect(database_url, state.plan.writers - 1, connections)]
        with session.transaction():
            chain = ProofChain(proofs.read_last_hash(session, state.table))
            rows = checkpoints.share(session, state.table, state.plan.checkpoint, len(sessions))
        yield [Writer(*of, chain) for of in zip(sessions, rows, strict=True)]


def share_out(
    writers: Sequence[Writer],
    periods: Sequence[Period],
    load: Callable[[Writer, PeriodQueue], None],
) -> None:
    """Have every writer load periods until none is left.

    What ends one of them ends the others after the period that each is at; where somebody
    interrupts the process, at once.

    Args:
        writers: The writers; the first is at work in this thread.
        periods: The periods.
        load: Loads what a writer takes out of the queue.

    Raises:
        RefreshError: what ended a writer.
    """
    queue, (first, *others) = PeriodQueue.of(periods), writers
    with ThreadPoolExecutor(len(writers), thread_name_prefix="writer") as threads:
        at_work = [threads.submit(_load_as_other, load, writer, queue) for writer in others]
        try:
            load(first, queue)
            for writer in at_work:
                writer.result()
        except BaseException as error:
            queue.stop()
            if not isinstance(error, Exception):
                for writer in others:
                    writer.session.cancel()
            raise
    # What one of them has put back when the first had nothing more to do.
    if queue:
        load(first, queue)


def _load_as_other(
    load: Callable[[Writer, PeriodQueue], None], writer: Writer, queue: PeriodQueue
) -> None:
    try:
        load(writer, queue)
    except NoConnection as error:
        logger.info("going on with a writer less: %s", error)
    except BaseException:
        queue.stop()
        raise


def _connect(database_url: str, number: int, connections: ExitStack) -> Iterator[Session]:
    """Open sessions, as far as there are connections for them."""
    for _ in range(number):
        try:
            yield connections.enter_context(connect(database_url))
        except NoConnection as error:
            logger.info("going on with fewer writers: %s", error)
            return
