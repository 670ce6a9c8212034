"""Let one process at a time refresh a table, and one transaction at a time publish each period.

Both are advisory locks, under keys of their own:

- `table_lock` is held for as long as a refresh takes, by an open transaction on a connection of its
  own. Postgres releases it the moment the process or its machine is gone, and a transaction stays
  on one connection behind any pooler. It has no snapshot, so it keeps no dead row alive.
- `publishing` is held by a transaction that publishes a period, until that ends. It protects the
  period even where the connection of the first lock was lost meanwhile.

    with table_lock(database_url, table) as lock, lock.held():
        ...  # refresh the table; hold it again for another attempt
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from psycopg import sql
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from sqp_refresh.control import checkpoints
from sqp_refresh.errors import Busy, NoConnection, RefreshError
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry.refresh_config import require_enabled

WAIT_S = 60
POLL_S = 0.5

# The transaction stands idle as long as the refresh takes, whatever the user's own limits are; the
# second of them is known from Postgres 17 on.
_REMOVE_LIMITS = """
SELECT count(set_config(name, '0', true)) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
"""
_TRY_LOCK = "SELECT pg_try_advisory_xact_lock(hashtextextended(%(key)s, 0))"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended(%(key)s, 0))"


class TableLock:
    """The lock on a table that `acquire` takes, and that the block of `table_lock` releases."""

    def __init__(self, database_url: str, table: Table, connections: ExitStack) -> None:
        self._database_url = database_url
        self._table = table
        self._connections = connections
        self._session: Session | None = None

    def acquire(self) -> None:
        """Take the lock unless it is held; also again where the connection that held it was lost.

        Waits for another refresh of the table, for a minute at most.

        Raises:
            Busy: another refresh holds it; the message says which.
            RefreshError: Postgres cannot be reached.
        """
        if self._session is not None:
            try:
                self._session.fetch_one("SELECT 1")
                return
            except RefreshError:
                self._session = None
        session = self._connections.enter_context(connect(self._database_url))
        self._wait_for_lock(session)
        self._session = session

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock for an attempt, and for the next one, unless this one got no connection.

        Refreshes that hold their tables' locks while each waits for a connection of the others'
        would wait for ever.
        """
        self.acquire()
        try:
            yield
        except NoConnection:
            self._session = None
            self._connections.close()
            raise

    def _wait_for_lock(self, session: Session) -> None:
        # Waiting in Postgres would end in an error of lock_timeout, and that in a transaction that
        # can neither be locked in nor asked who holds the lock.
        poll = Retrying(
            retry=retry_if_result(lambda locked: not locked),
            stop=stop_after_delay(WAIT_S),
            wait=wait_fixed(POLL_S),
        )
        try:
            poll(_lock_unless_held, session, self._table.name)
        except RetryError:
            message = self._busy_message(session)
            session.rollback()
            raise Busy(message) from None

    def _busy_message(self, session: Session) -> str:
        message = f"{SCHEMA}.{self._table.name} is being refreshed by another run"
        checkpoint = checkpoints.find_active(session, self._table)
        if checkpoint is not None:
            message = (
                f"{SCHEMA}.{self._table.name} is being refreshed by run {checkpoint.run_id} "
                f"({checkpoint.host}, process {checkpoint.pid}), which has published "
                f"{len(checkpoint.published)} of {len(checkpoint.periods)} periods"
            )
        return f"{message}; wait for it, or run `sqp-refresh stop {self._table.name}`"


def _lock_unless_held(session: Session, table: str) -> bool:
    """Take a table's lock if nobody has it, and return whether that is so.

    If not, no transaction stays open: who waits keeps no connection of a pooler's, which whoever
    holds the lock may need.
    """
    session.fetch_one(_REMOVE_LIMITS)
    is_locked = try_lock(session, table)
    if not is_locked:
        session.rollback()
    return is_locked


@contextmanager
def table_lock(database_url: str, table: Table) -> Iterator[TableLock]:
    """Open the lock of a table, which `acquire` takes; it is released when the block ends."""
    with ExitStack() as connections:
        yield TableLock(database_url, table, connections)


def try_lock(session: Session, table: str) -> bool:
    """Try to take a table's lock until the transaction ends.

    Args:
        session: A session in a transaction.
        table: Name of the table in schema sqp.

    Returns:
        Whether nobody else refreshes the table.
    """
    (locked,) = session.fetch_one(_TRY_LOCK, {"key": f"{SCHEMA}.{table} refresh"})
    return locked


def wait_for_lock(session: Session, key: str) -> None:
    """Take an advisory lock until the transaction ends, and wait for whoever has it.

    Args:
        session: A session in a transaction.
        key: What the lock is of; two keys are two locks.

    Raises:
        Transient: it was not released in time.
    """
    session.execute(_LOCK, {"key": key})


@contextmanager
def publishing(session: Session, table: Table, period: Period) -> Iterator[None]:
    """Open the transaction that publishes a period of a table; the only one that does.

    It has one snapshot. What it compares, writes and measures is one state of the table, to which a
    write by anybody else is later; see `Session.transaction`.

    Raises:
        Transient: another publisher did not release the lock in time.
        Stopped: an operator disabled the table meanwhile.
    """
    name, key = sql.Identifier(SCHEMA, table.name), f"{SCHEMA}.{table.name} {period}"
    while True:
        # The transaction that closes the checkpoint is the one that waits for the disk.
        with session.transaction(synchronous_commit=False, writes_to=name):
            (is_locked,) = session.fetch_one(_TRY_LOCK, {"key": key})
            if is_locked:
                require_enabled(session, table)
                yield
                return
        # A snapshot from before the wait would not show that the table was disabled during it.
        with session.transaction():
            wait_for_lock(session, key)
