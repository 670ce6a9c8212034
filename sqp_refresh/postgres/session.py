"""One session with the target database: psycopg's calls, our errors, and deadlines for all of them.

A statement is a plain string or, where it names tables and columns, a `psycopg.sql` composition.
Values are parameters, written `%(name)s`; nothing is formatted by hand.

    session.fetch_all("SELECT a FROM t WHERE b = %(b)s", {"b": 1}, row_factory=class_row(Found))
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, LiteralString, TypeVar, cast, overload

import psycopg
from psycopg import conninfo, sql
from psycopg.rows import RowFactory, tuple_row

from sqp_refresh.errors import RefreshError
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

# How libpq notices a server that is gone without a word, in seconds; the system's own is two hours.
_KEEPALIVE = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
# Nothing waits for ever. Set in each transaction: a pooler may give each one another connection.
DEADLINES = {
    "statement_timeout": "30min",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "1h",
}
_TIMES = {"TimeZone": "UTC", "DateStyle": "ISO"}
# A week of a large agency is compared in memory; and no statement here runs often enough to be
# worth compiling.
_PLANNING = {"work_mem": "64MB", "jit": "off"}


class Session:
    """One connection to the target, open until the `with` block that `connect` opened ends."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

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
        """Run one query and return all of its rows; meant for few.

        Args:
            query: The query.
            params: The value of each `%(name)s` in it.
            row_factory: What makes a row, e.g. `class_row` of a dataclass with the columns' names.
        """
        with translated_errors(), self._connection.cursor(row_factory=row_factory) as cursor:
            return cursor.execute(query, params).fetchall()

    def fetch_one(self, query: Statement, params: Parameters | None = None) -> tuple[Any, ...]:
        """Run a query that always has exactly one row, and return that."""
        (row,) = self.fetch_all(query, params)
        return row

    def execute(self, statement: Statement, params: Parameters | None = None) -> int:
        """Run one statement; returns the number of rows that it wrote."""
        with translated_errors():
            return self._connection.execute(statement, params).rowcount

    def copy(self, statement: Statement, data: Iterable[bytes | memoryview]) -> int:
        """Run a COPY FROM STDIN and send it its data; returns the rows copied.

        What making the data raises is raised here, and nothing of it is copied.
        """
        with translated_errors(), self._connection.cursor() as cursor:
            with cursor.copy(statement) as to_server:
                for piece in data:
                    to_server.write(piece)
            return cursor.rowcount

    def commit(self) -> None:
        """Make everything since the last commit visible to others."""
        with translated_errors():
            self._connection.commit()

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        with translated_errors():
            self._connection.rollback()

    @contextmanager
    def transaction(self, *, synchronous_commit: bool = True) -> Iterator[None]:
        """Commit what the block did, or none of it; no statement in it waits for ever.

        Args:
            synchronous_commit: Whether the commit waits for the disk. Without it, the transaction
                is safe from a crash of the server once a later one is; a crash leaves none without
                those before it.
        """
        settings = DEADLINES | _PLANNING
        if not synchronous_commit:
            settings = settings | {"synchronous_commit": "off"}
        self._set_local(settings)
        try:
            yield
        except BaseException:
            self._rollback_quietly()
            raise
        self.commit()

    def _set_local(self, settings: Mapping[str, str]) -> None:
        """Set parameters of the server until the transaction ends."""
        names, values = list(settings), list(settings.values())
        self.fetch_all(
            "SELECT set_config(name, value, true)"
            " FROM unnest(%(names)s::text[], %(values)s::text[]) AS _ (name, value)",
            {"names": names, "values": values},
        )

    def _rollback_quietly(self) -> None:
        # A lost connection has rolled back already; the error that lost it is the one to show.
        try:
            self.rollback()
        except RefreshError:
            return

    # -- until every caller passes parameters ------------------------------------------------------

    def rows(self, query: sql.Composable) -> list[tuple[Any, ...]]:
        """Run one query and return all of its rows; meant for few."""
        with translated_errors():
            return self._connection.execute(query.as_bytes(self._connection)).fetchall()

    def row(self, query: sql.Composable) -> tuple[Any, ...]:
        """Run a query that always has exactly one row, and return that."""
        (only,) = self.rows(query)
        return only

    def run(self, statement: sql.Composable) -> None:
        """Run one statement that returns nothing."""
        with translated_errors():
            self._connection.execute(statement.as_bytes(self._connection))


@contextmanager
def connect(database_url: str, *, connect_timeout_s: int = CONNECT_TIMEOUT_S) -> Iterator[Session]:
    """Open a session with the target.

    Args:
        database_url: Where the target is, and as whom to go there.
        connect_timeout_s: Seconds to wait for an answer, unless the URL says something else.

    Raises:
        Unavailable: nothing answers at the address.
        AccessDenied: user or password is wrong.
        NotFound: there is no such database.
        SettingsError: the URL cannot be parsed.
    """
    address = address_of(database_url, connect_timeout_s)
    try:
        # A pooler may give each transaction another connection, which knows no prepared statement.
        connection = psycopg.connect(**address, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise unreachable(server_message(error), address) from None
    try:
        _set_times_to_utc(connection)
        yield Session(connection)
    finally:
        connection.close()


def _set_times_to_utc(connection: psycopg.Connection[Any]) -> None:
    """Have times come in UTC, and be understood, whatever the server's settings are."""
    with translated_errors():
        for name, value in _TIMES.items():
            if value not in (connection.info.parameter_status(name) or ""):
                setting = sql.SQL("SET {} TO {}").format(sql.Identifier(name), sql.Literal(value))
                connection.execute(setting)
        connection.commit()


def address_of(database_url: str, connect_timeout_s: int = CONNECT_TIMEOUT_S) -> dict[str, Any]:
    """Return where and as whom to connect, for libpq, which reads the URL itself: as psql would.

    Raises:
        SettingsError: the URL cannot be parsed.
    """
    try:
        address = conninfo.conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        # The message of the parser quotes the URL, password and all.
        raise malformed_url() from None
    defaults = {"connect_timeout": connect_timeout_s, "application_name": "sqp_refresh"}
    # COPY sends texts as they are in Arrow, in UTF-8.
    return defaults | _KEEPALIVE | address | {"client_encoding": "UTF8"}


def identifier(*names: str) -> sql.Identifier:
    """Return a name as an identifier of a statement that is run with parameters.

    There, psycopg takes a percent sign for the beginning of a parameter, so that it is doubled.
    """
    return sql.Identifier(*(name.replace("%", "%%") for name in names))


def type_name(name: str) -> sql.SQL:
    """Return a type's name as SQL. Types come from the code alone, so nothing of it is quoted."""
    return sql.SQL(cast(LiteralString, name))
