"""What Postgres's errors mean: one map from SQLSTATE, or libpq's words, to our errors.

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
    NotFound,
    RefreshError,
    SchemaMismatch,
    SettingsError,
    Transient,
    Unavailable,
    one_line,
)

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
# libpq reports a refused connection in words only, without a SQLSTATE.
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
    """Turn the driver's errors into ours."""
    try:
        yield
    except psycopg.Error as error:
        raise _translated(error) from error


def _translated(error: psycopg.Error) -> RefreshError:
    # A connection that breaks has no SQLSTATE.
    sqlstate = error.sqlstate or "08"
    kind, remedy = _MEANING.get(sqlstate) or _MEANING.get(sqlstate[:2]) or (RefreshError, "")
    message = f"Postgres: {server_message(error)}"
    return kind(f"{message}; {remedy}" if remedy else message)


def server_message(error: psycopg.Error) -> str:
    """Return what the server said, without the query it quotes and the driver's own words."""
    message = error.diag.message_primary or str(error).rpartition("FATAL:")[2]
    return one_line(Exception(message.removeprefix("connection failed: ")))


def unreachable(message: str, address: dict[str, Any]) -> RefreshError:
    """Turn what libpq said of a connection that was not made into one of our errors."""
    # A password with an unquoted / or @ ends up in these, and libpq's message would show it.
    if any("@" in str(address.get(part, "")) for part in ("host", "port", "dbname")):
        return malformed_url()
    if re.search('database ".*" does not exist', message):
        return NotFound(f"Postgres: {message}; create it, or check its name in DATABASE_URL")
    if any(words in message for words in _REFUSALS):
        return AccessDenied(f"Postgres: {message}; check the user and password in DATABASE_URL")
    return Unavailable(f"Postgres: {message}; check that it is up, and the address in DATABASE_URL")


def malformed_url() -> SettingsError:
    """Describe a DATABASE_URL that cannot be parsed, without quoting it."""
    return SettingsError(
        "DATABASE_URL cannot be parsed; write it as postgresql://user:password@host:5432/database, "
        "with special characters of the password percent-encoded"
    )
