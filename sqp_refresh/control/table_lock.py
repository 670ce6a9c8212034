"""The one writer that a table has, for as long as its refresh takes.

A writer keeps a transaction of its own open that holds an advisory lock. Postgres lets go of it
the moment the process or its machine is gone, and a transaction stays on one connection behind any
pooler; it has no snapshot, so it keeps no dead row alive.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from psycopg import sql
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from sqp_refresh.control import checkpoints
from sqp_refresh.errors import Busy, RefreshError
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session, connect

WAIT_S = 60
POLL_S = 0.5

# The transaction stands idle as long as the refresh takes, whatever the user's own limits are; the
# second of them is known from Postgres 17 on.
_STAY = sql.SQL("""
SELECT count(set_config(name, '0', true)) FROM pg_settings
WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')
""")
_TRY = sql.SQL("SELECT pg_try_advisory_xact_lock(hashtextextended({}, 0))")


class Writer:
    """The right to write a table, held until the block of `table_lock` ends."""

    def __init__(self, database_url: str, table: Table, connections: ExitStack) -> None:
        self._database_url = database_url
        self._table = table
        self._connections = connections
        self._session: Session | None = None

    def ensure(self) -> None:
        """Take the right, also again where the connection that held it was lost.

        Raises:
            Busy: another refresh has it; the message says which.
            RefreshError: Postgres cannot be reached.
        """
        if self._session is not None:
            try:
                self._session.row(sql.SQL("SELECT 1"))
                return
            except RefreshError:
                self._session = None
        session = self._connections.enter_context(connect(self._database_url))
        session.row(_STAY)
        self._take(session)
        self._session = session

    def _take(self, session: Session) -> None:
        patiently = Retrying(
            retry=retry_if_result(lambda taken: not taken),
            stop=stop_after_delay(WAIT_S),
            wait=wait_fixed(POLL_S),
        )
        try:
            patiently(try_lock, session, self._table.name)
        except RetryError:
            raise Busy(self._busy(session)) from None

    def _busy(self, session: Session) -> str:
        said = f"{SCHEMA}.{self._table.name} is being refreshed by another run"
        holder = checkpoints.active(session, self._table)
        if holder is not None:
            said = (
                f"{SCHEMA}.{self._table.name} is being refreshed by run {holder.run_id} "
                f"({holder.host}, process {holder.pid}), which has published "
                f"{len(holder.published)} of {len(holder.periods)} periods"
            )
        return f"{said}; wait for it, or run `sqp-refresh stop {self._table.name}`"


@contextmanager
def table_lock(database_url: str, table: Table) -> Iterator[Writer]:
    """The table's one writer, once `ensure` has waited for another one, for a minute at most."""
    with ExitStack() as connections:
        yield Writer(database_url, table, connections)


def try_lock(session: Session, table: str) -> bool:
    """Whether nobody refreshes the table; it is held from now on to the end of the transaction."""
    (free,) = session.row(_TRY.format(sql.Literal(f"{SCHEMA}.{table} refresh")))
    return free
