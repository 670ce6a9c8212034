"""Open a session with the target database: psycopg with deadlines, and with `RefreshError`s.

A statement is a plain string or, where it names tables and columns, a `psycopg.sql` composition.
Values are parameters, written `%(name)s`; no value is ever formatted into a statement.

    with connect(settings.database_url) as session, session.transaction():
        query = "SELECT asin, week FROM sqp.sales WHERE week = %(week)s"
        sales = session.fetch_all(query, {"week": week}, row_factory=class_row(Sale))
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, LiteralString, TypeVar, cast, overload

import psycopg
from psycopg import conninfo, sql
from psycopg.pq import TransactionStatus
from psycopg.rows import RowFactory, tuple_row

from sqp_refresh.errors import RefreshError
from sqp_refresh.postgres.answer_deadline import awaiting_answer, watch
from sqp_refresh.postgres.sqlstate import (
    malformed_url,
    server_message,
    translated_errors,
    unreachable,
)

Row = TypeVar("Row")
Statement = LiteralString | sql.SQL | sql.Composed
Parameters = Mapping[str, Any]

CONNECT_TIMEOUT_S = 10

# By these, in seconds and ms, libpq notices that a server is gone; the system's default is 2 hours.
_KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# A name without a schema means what Postgres itself has, never what somebody put into a schema of
# the user's own path: a function or operator there may fit a call better, and would run as this
# user. Temporary tables come last; without being named they would come first.
SET_SEARCH_PATH = "SET LOCAL search_path TO pg_catalog, pg_temp"
"""The first statement of every transaction; it looks up no function or operator itself."""

# Nothing waits for ever. These are set in each transaction, not once for the session, because a
# connection pooler may run each transaction on another connection.
DEADLINES = {
    "statement_timeout": "30min",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "1h",
    # The others bound all that a transaction does; a provider's own limit would end a large week.
    "transaction_timeout": "0",
}
_SINCE = {"transaction_timeout": 170_000}
"""The first version of the server that has a parameter, where it is not the oldest."""
_TIMES = {"TimeZone": "UTC", "DateStyle": "ISO"}
# A server, a database or a role may have other defaults for what statements and values mean, for
# how they are printed, and for what is created.
_MEANING = _TIMES | {
    "IntervalStyle": "postgres",
    "array_nulls": "on",
    "bytea_output": "hex",
    # What the connection asked for, a pooler may not have told each of its connections.
    "client_encoding": "UTF8",
    "default_table_access_method": "heap",
    # An error ends the statement, and not the connection.
    "exit_on_error": "off",
    "extra_float_digits": "1",
    # A value of type money is read by the rules of the locale.
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "quote_all_identifiers": "off",
    "row_security": "on",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "xmloption": "content",
}
# The week of a large agency is compared in memory. No statement runs often enough to be worth the
# time that compiling it takes.
_PLANNING = {"work_mem": "64MB", "jit": "off"}

_CLOCK = "SELECT pg_catalog.clock_timestamp()"

_SET_LOCAL = sql.SQL("SET LOCAL {} TO {}")
_SET_MEANING = [
    _SET_LOCAL.format(sql.Identifier(name), sql.Literal(value)) for name, value in _MEANING.items()
]
# Whatever the server's default is: who waits for a lock has to see what was done meanwhile.
_BEGIN = sql.SQL("; ").join(
    [sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED"), sql.SQL(SET_SEARCH_PATH), *_SET_MEANING]
)
_REPEATABLE_READ = sql.SQL("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
# What every INSERT, UPDATE and DELETE takes; it keeps out no reader and no writer.
_LOCK_DEFINITION = sql.SQL("LOCK TABLE {} IN ROW EXCLUSIVE MODE")


class Session:
    """One connection to the target, open until the `with` block that `connect` opened ends.

    A statement outside of a transaction begins one, which `commit` or `rollback` ends.
    """

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    @property
    def host(self) -> str:
        """Return the server of this connection: a host, or the directory of a socket."""
        return self._connection.info.host

    @property
    def database(self) -> str:
        """Return the name of the database of this connection."""
        return self._connection.info.dbname

    def now(self) -> datetime:
        """Return the time by the server's clock, in UTC; outside of a transaction, begin none.

        It is the one clock that all machines share. What is due, which weeks have ended and what is
        late go by it, so that a machine whose own clock is wrong does the same as any other.
        """
        with self._asking():
            ((now,),) = self._connection.execute(_CLOCK).fetchall()
        return now

    @overload
    def fetch_all(
        self, query: Statement, params: Parameters | None = None
    ) -> list[tuple[Any, ...]]: ...

    @overload
    def fetch_all(
        self, query: Statement, params: Parameters | None = None, *, row_factory: RowFactory[Row]
    ) -> list[Row]: ...

    def fetch_all(
        self,
        query: Statement,
        params: Parameters | None = None,
        *,
        row_factory: RowFactory[Any] = tuple_row,
    ) -> list[Any]:
        """Run one query and return all of its rows; for queries with few rows.

        Args:
            query: The query.
            params: The value of each `%(name)s` in the query.
            row_factory: Makes each row, e.g. `class_row(X)`: a dataclass X with a field for each
                column of the query. Rows are tuples by default.
        """
        with self._asking(), self._connection.cursor(row_factory=row_factory) as cursor:
            self._begin_unless_begun()
            return cursor.execute(query, params).fetchall()

    def fetch_one(self, query: Statement, params: Parameters | None = None) -> tuple[Any, ...]:
        """Run a query that always has exactly one row, and return that row."""
        (row,) = self.fetch_all(query, params)
        return row

    def execute(self, statement: Statement, params: Parameters | None = None) -> int:
        """Run one statement, and return the number of rows that it wrote."""
        with self._asking():
            self._begin_unless_begun()
            return self._connection.execute(statement, params).rowcount

    def copy(self, statement: Statement, data: Iterable[bytes | memoryview]) -> int:
        """Run a COPY FROM STDIN with this data, and return the number of rows copied.

        An error that `data` raises while it is read is raised here, and then no row is copied.

        Args:
            statement: The COPY statement.
            data: Pieces of the data, in the format that the statement names.
        """
        with self._asking(), self._connection.cursor() as cursor:
            self._begin_unless_begun()
            with cursor.copy(statement) as to_server:
                for piece in data:
                    to_server.write(piece)
            return cursor.rowcount

    def commit(self) -> None:
        """Make everything since the last commit visible to others."""
        with self._asking():
            self._connection.commit()

    def rollback(self) -> None:
        """Undo everything since the last commit."""
        with self._asking():
            self._connection.rollback()

    def cancel(self) -> None:
        """Cancel the statement that another thread waits for, if there is one."""
        with translated_errors():
            self._connection.cancel_safe()

    @contextmanager
    def transaction(
        self, *, synchronous_commit: bool = True, writes_to: sql.Identifier | None = None
    ) -> Iterator[None]:
        """Commit what the block did, or nothing of it if it raises; set deadlines for all of it.

        Args:
            synchronous_commit: Whether the commit waits until the transaction is on disk. If not, a
                crash of the server may lose the last transactions, but never one of them without
                those that came after it.
            writes_to: A table whose definition (columns, triggers) nobody may change until the
                transaction ends. All statements of the block then see one snapshot, taken once
                that is so, beside what they write themselves. To write to a row that somebody else
                has written since is a `WriteConflict`.
        """
        settings = DEADLINES | _PLANNING
        if not synchronous_commit:
            settings = settings | {"synchronous_commit": "off"}
        try:
            self._begin(settings, writes_to)
            yield
        except BaseException:
            self._rollback_quietly()
            raise
        self.commit()

    def _begin(self, settings: Mapping[str, str], writes_to: sql.Identifier | None) -> None:
        """Begin a transaction with these parameters of the server, and take its snapshot if asked.

        All of it is sent as one, so that no pooler and no other statement comes between. None of it
        is a query: the first query takes the snapshot, and what was committed before the table's
        lock was granted has to be in it.
        """
        connection = self._connection
        is_begun = connection.info.transaction_status is not TransactionStatus.IDLE
        begin: list[sql.Composable] = [] if is_begun else [_BEGIN]
        if writes_to is not None:
            begin.append(_REPEATABLE_READ)
        begin += _set_local(settings, connection.info.server_version)
        if writes_to is not None:
            begin.append(_LOCK_DEFINITION.format(writes_to))
        with self._asking():
            connection.execute(sql.SQL("; ").join(begin))

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Ask the server for something, and raise its errors, or that of its silence, as ours."""
        with translated_errors(), awaiting_answer(self._connection):
            yield

    def _begin_unless_begun(self) -> None:
        """Begin a transaction in which names and values mean what they do in Postgres itself."""
        if self._connection.info.transaction_status is TransactionStatus.IDLE:
            self._connection.execute(_BEGIN)

    def _rollback_quietly(self) -> None:
        # A lost connection has rolled back already, and the error to raise is the one that lost it.
        try:
            self.rollback()
        except RefreshError:
            return


@contextmanager
def connect(database_url: str, *, connect_timeout_s: int = CONNECT_TIMEOUT_S) -> Iterator[Session]:
    """Open a session with the target database, and close it when the block ends.

    Args:
        database_url: Address, user and password.
        connect_timeout_s: Seconds to wait for the server, unless the URL sets connect_timeout.

    Raises:
        Unavailable: nothing answers at the address.
        AccessDenied: user or password is wrong.
        NotFound: there is no such database.
        SettingsError: the URL cannot be parsed.
    """
    address = address_of(database_url, connect_timeout_s)
    try:
        # A pooler may run each transaction on another connection, which does not have the prepared
        # statements of the one before. The session itself begins transactions, by `_BEGIN`.
        connection = psycopg.connect(**address, autocommit=True, prepare_threshold=None)
    except (psycopg.OperationalError, psycopg.ProgrammingError) as error:
        raise unreachable(server_message(error), address) from None
    watch()
    try:
        _set_up(connection)
        yield Session(connection)
    finally:
        connection.close()


def read_clock(database_url: str) -> datetime:
    """Return the time by the clock of Postgres, in UTC; see `Session.now`.

    Raises:
        RefreshError: see `connect`.
    """
    with connect(database_url) as session:
        return session.now()


def _set_up(connection: psycopg.Connection[Any]) -> None:
    """Set what the session needs outside of its transactions, too.

    It receives times in UTC and in ISO format, and may stand idle while BigQuery answers.
    """
    settings = {
        name: value
        for name, value in _TIMES.items()
        if value not in (connection.info.parameter_status(name) or "")
    }
    settings["idle_session_timeout"] = "0"
    statements = [
        sql.SQL("SET {} TO {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in settings.items()
    ]
    with translated_errors():
        connection.execute(sql.SQL("; ").join(statements))


def set_deadlines(connection: psycopg.Connection[Any]) -> None:
    """Set deadlines, and what statements mean, in a transaction that somebody else has begun."""
    statements = _set_local(DEADLINES | _MEANING, connection.info.server_version)
    connection.execute(sql.SQL("; ").join(statements))


def _set_local(settings: Mapping[str, str], server_version: int) -> list[sql.Composable]:
    """Return the statements that set parameters, as far as the server has them."""
    return [
        _SET_LOCAL.format(sql.Identifier(name), sql.Literal(value))
        for name, value in settings.items()
        if server_version >= _SINCE.get(name, 0)
    ]


def address_of(database_url: str, connect_timeout_s: int = CONNECT_TIMEOUT_S) -> dict[str, Any]:
    """Return the parameters of a connection, read from the URL by libpq, as psql reads it.

    Raises:
        SettingsError: the URL cannot be parsed.
    """
    try:
        address = conninfo.conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        # The parser's message quotes the URL, and the password in it.
        raise malformed_url(database_url) from None
    defaults = {"connect_timeout": connect_timeout_s, "application_name": "sqp_refresh"}
    # COPY sends text as Arrow stores it, in UTF-8, whatever encoding the URL asks for.
    return defaults | _KEEPALIVE | address | {"client_encoding": "UTF8"}


def identifier(*names: str) -> sql.Identifier:
    """Return a name as an identifier of a statement that is run with parameters.

    There, psycopg takes a percent sign for the beginning of a parameter, so that it is doubled.
    """
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


def type_name(name: str) -> sql.SQL:
    """Return a type's name as SQL, unquoted: types are named in the code only, never by users."""
    return sql.SQL(cast(LiteralString, name))
