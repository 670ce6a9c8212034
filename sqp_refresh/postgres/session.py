"""One session with the target database, and what its errors mean.

SQL is composed with `psycopg.sql`, which quotes identifiers and values; nothing is formatted by
hand. A transaction belongs to the caller, who commits it.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, LiteralString, cast

import psycopg
from psycopg import conninfo, sql

from sqp_refresh.errors import (
    AccessDenied,
    DataError,
    NotFound,
    RefreshError,
    SchemaMismatch,
    SettingsError,
    Transient,
    Unavailable,
    one_line,
)

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

# SQLSTATE, or the class that its first two characters name, and what the caller can do about it.
_MEANING: dict[str, tuple[type[RefreshError], str]] = {
    "08": (Unavailable, "check that Postgres is up"),
    "22": (DataError, "check the value in the source"),
    "23": (DataError, "check the row in the source"),
    "25P03": (Unavailable, "the server closed a transaction that stood idle; try again"),
    "28": (AccessDenied, "check the user and password in DATABASE_URL"),
    "40": (Transient, "try again"),
    "53": (Unavailable, "check the server's memory, disk and connections"),
    "55": (Transient, "another session holds a lock; try again"),
    "54": (DataError, "check the value in the source: it is larger than Postgres can index"),
    "57": (Unavailable, "the server ended the statement; try again"),
    "3D": (NotFound, "check the database name in DATABASE_URL"),
    "3F": (NotFound, "run `sqp-refresh migrate`"),
    "42501": (AccessDenied, "grant the user of DATABASE_URL this right"),
    "42P01": (NotFound, "run `sqp-refresh migrate`"),
    "42703": (SchemaMismatch, "run `sqp-refresh migrate`"),
}


def _set(settings: dict[str, str]) -> sql.Composed:
    return sql.SQL("SELECT {}").format(
        sql.SQL(", ").join(
            sql.SQL("set_config({}, {}, true)").format(sql.Literal(name), sql.Literal(value))
            for name, value in settings.items()
        )
    )


_SETTINGS = _set(DEADLINES | _PLANNING)
_HASTY_SETTINGS = _set(DEADLINES | _PLANNING | {"synchronous_commit": "off"})
# libpq reports a refused connection in words only, without a SQLSTATE.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "is not permitted to log in",
    "permission denied for database",
    "does not exist",
)


class Session:
    """One connection to the target, open until the `with` block that `connect` opened ends."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def rows(self, query: sql.Composable) -> list[tuple[Any, ...]]:
        """Run one query and return all of its rows; meant for few."""
        with translated_errors():
            return self._execute(query).fetchall()

    def row(self, query: sql.Composable) -> tuple[Any, ...]:
        """The one row of a query that always has one."""
        (only,) = self.rows(query)
        return only

    def run(self, statement: sql.Composable) -> None:
        """Run one statement that returns nothing."""
        with translated_errors():
            self._execute(statement)

    def copy(self, statement: sql.Composable, data: Iterable[bytes | memoryview]) -> int:
        """Run a COPY FROM STDIN and send it its data; returns the rows copied.

        What making the data raises is raised here, and nothing of it is copied.
        """
        with translated_errors(), self._connection.cursor() as cursor:
            with cursor.copy(self._as_sql(statement)) as to_server:
                for piece in data:
                    to_server.write(piece)
            return cursor.rowcount

    def _execute(self, query: sql.Composable) -> psycopg.Cursor[Any]:
        return self._connection.execute(self._as_sql(query))

    def _as_sql(self, query: sql.Composable) -> bytes:
        return query.as_bytes(self._connection)

    def commit(self) -> None:
        """Make everything since the last commit visible to others."""
        with translated_errors():
            self._connection.commit()

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        with translated_errors():
            self._connection.rollback()

    @contextmanager
    def transaction(self, *, waits_for_disk: bool = True) -> Iterator[None]:
        """Commit what the block did, or none of it; no statement in it waits for ever.

        Args:
            waits_for_disk: Whether it is safe from a crash of the server once it is committed; if
                not, it is once a later transaction is. A crash leaves none without those before.
        """
        self.row(_SETTINGS if waits_for_disk else _HASTY_SETTINGS)
        try:
            yield
        except BaseException:
            self._rollback_quietly()
            raise
        self.commit()

    def _rollback_quietly(self) -> None:
        # A lost connection has rolled back already; the error that lost it is the one to show.
        try:
            self.rollback()
        except RefreshError:
            return


@contextmanager
def connect(database_url: str, *, patience_s: int = CONNECT_TIMEOUT_S) -> Iterator[Session]:
    """Open a session with the target.

    Args:
        database_url: Where the target is, and as whom to go there.
        patience_s: Seconds to wait for an answer, unless the URL says something else.

    Raises:
        Unavailable: nothing answers at the address.
        AccessDenied: user or password is wrong.
        NotFound: there is no such database.
        SettingsError: the URL cannot be parsed.
    """
    address = address_of(database_url, patience_s)
    try:
        # A pooler may give each transaction another connection, which knows no prepared statement.
        connection = psycopg.connect(**address, prepare_threshold=None)
    except psycopg.OperationalError as error:
        raise unreachable(_server_message(error), address) from None
    try:
        _have_times_in_utc(connection)
        yield Session(connection)
    finally:
        connection.close()


def _have_times_in_utc(connection: psycopg.Connection[Any]) -> None:
    """Have times come in UTC, and be understood, whatever the server's settings are."""
    with translated_errors():
        for name, wanted in _TIMES.items():
            if wanted not in (connection.info.parameter_status(name) or ""):
                setting = sql.SQL("SET {} TO {}").format(sql.Identifier(name), sql.Literal(wanted))
                connection.execute(setting)
        connection.commit()


def address_of(database_url: str, patience_s: int = CONNECT_TIMEOUT_S) -> dict[str, Any]:
    """Where and as whom to connect, for libpq, which reads the URL itself: as psql would.

    Raises:
        SettingsError: the URL cannot be parsed.
    """
    try:
        address = conninfo.conninfo_to_dict(database_url)
    except psycopg.ProgrammingError:
        # The message of the parser quotes the URL, password and all.
        raise _malformed() from None
    ours = {"connect_timeout": patience_s, "application_name": "sqp_refresh"}
    # COPY sends texts as they are in Arrow, in UTF-8.
    return ours | _KEEPALIVE | address | {"client_encoding": "UTF8"}


def unreachable(said: str, address: dict[str, Any]) -> RefreshError:
    """What libpq said of a connection that was not made, as one of our errors."""
    # A password with an unquoted / or @ ends up in these, and libpq's message would show it.
    if any("@" in str(address.get(part, "")) for part in ("host", "port", "dbname")):
        return _malformed()
    if re.search('database ".*" does not exist', said):
        return NotFound(f"Postgres: {said}; create it, or check its name in DATABASE_URL")
    if any(words in said for words in _REFUSALS):
        return AccessDenied(f"Postgres: {said}; check the user and password in DATABASE_URL")
    return Unavailable(f"Postgres: {said}; check that it is up, and the address in DATABASE_URL")


def _malformed() -> SettingsError:
    return SettingsError(
        "DATABASE_URL cannot be parsed; write it as postgresql://user:password@host:5432/database, "
        "with special characters of the password percent-encoded"
    )


def typed(name: str) -> sql.SQL:
    """A type's name as SQL. Types come from the code alone, so nothing of it is quoted."""
    return sql.SQL(cast(LiteralString, name))


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the driver's errors into ours; this is the only place that knows SQLSTATE."""
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error) from error


def _translated(error: psycopg.Error) -> RefreshError:
    # A connection that breaks has no SQLSTATE.
    sqlstate = error.sqlstate or "08"
    kind, remedy = _MEANING.get(sqlstate) or _MEANING.get(sqlstate[:2]) or (RefreshError, "")
    said = f"Postgres: {_server_message(error)}"
    return kind(f"{said}; {remedy}" if remedy else said)


def _server_message(error: psycopg.Error) -> str:
    """What the server said, without the query it quotes and the driver's own words."""
    said = error.diag.message_primary or str(error).rpartition("FATAL:")[2]
    return one_line(Exception(said.removeprefix("connection failed: ")))
