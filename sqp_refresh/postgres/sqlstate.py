"""Translate psycopg's errors into `RefreshError`s, by SQLSTATE or by libpq's message.

Every message is one line with the remedy. None quotes the query, a value or the password.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from sqp_refresh.errors import (
    AccessDenied,
    DataError,
    DuplicateKey,
    NotFound,
    RefreshError,
    SchemaMismatch,
    SettingsError,
    Transient,
    Unavailable,
    WriteConflict,
    one_line,
)

# By SQLSTATE, or by its class, which is the first two characters: the error, and the remedy.
_MEANING: dict[str, tuple[type[RefreshError], str]] = {
    "08": (Unavailable, "check that Postgres is up"),
    "22": (DataError, "check the value in the source"),
    "23": (DataError, "check the row in the source"),
    "23505": (DuplicateKey, "check the row in the source"),
    "25P03": (Unavailable, "the server closed a transaction that stood idle; try again"),
    "28": (AccessDenied, "check the user and password in DATABASE_URL"),
    "40": (WriteConflict, "somebody else wrote to the same rows; try again"),
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
# libpq reports a refused connection without a SQLSTATE, so its message has to tell.
_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "pg_hba.conf",
    "is not permitted to log in",
    "permission denied for database",
    "does not exist",
)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the errors that psycopg raises in the block as `RefreshError`s."""
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error) from error


def _translated(error: psycopg.Error) -> RefreshError:
    # The error of a connection that breaks has no SQLSTATE; 08 is the class of such errors.
    sqlstate = error.sqlstate or "08"
    kind, remedy = _MEANING.get(sqlstate) or _MEANING.get(sqlstate[:2]) or (RefreshError, "")
    message = f"Postgres: {server_message(error)}"
    return kind(f"{message}; {remedy}" if remedy else message)


def server_message(error: psycopg.Error) -> str:
    """Return the server's message, without the query it quotes and what the driver adds."""
    message = error.diag.message_primary or str(error).rpartition("FATAL:")[2]
    return one_line(Exception(message.removeprefix("connection failed: ")))


def unreachable(message: str, address: dict[str, Any]) -> RefreshError:
    """Return the error for a connection that could not be opened.

    Args:
        message: The message of libpq, or of the server.
        address: The parameters of the connection.
    """
    # With an unquoted / or @ in the password, the URL is split in the wrong place: part of the
    # password ends up in these parameters, and libpq's message would show it.
    if any("@" in str(address.get(part, "")) for part in ("host", "port", "dbname")):
        return malformed_url()
    if re.search('database ".*" does not exist', message):
        return NotFound(f"Postgres: {message}; create it, or check its name in DATABASE_URL")
    if any(words in message for words in _REFUSALS):
        return AccessDenied(f"Postgres: {message}; check the user and password in DATABASE_URL")
    return Unavailable(f"Postgres: {message}; check that it is up, and the address in DATABASE_URL")


def malformed_url() -> SettingsError:
    """Return the error for a DATABASE_URL that cannot be parsed, without quoting the URL."""
    return SettingsError(
        "DATABASE_URL cannot be parsed; write it as postgresql://user:password@host:5432/database, "
        "with special characters of the password percent-encoded"
    )
