"""Translate psycopg's errors into `RefreshError`s, by SQLSTATE, or by words of the message.

What each means is in `model/error_reasons`.

Every message is one line with the remedy. None quotes the query, a value or the password.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import pq

from sqp_refresh.errors import RefreshError, SettingsError, Unreachable, one_line
from sqp_refresh.model.error_reasons import (
    POOLER_WORDS,
    REFUSALS,
    reason_in,
    reason_of_sqlstate,
)

_NAME = re.compile(r"[a-zA-Z][\w.-]*")

# The SQLSTATEs that poolers answer with, too, whatever has gone wrong.
_OF_POOLERS = ("08", "XX000")


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the errors that psycopg raises in the block as `RefreshError`s."""
    try:
        yield
    except psycopg.Error as error:
        raise as_refresh_error(error) from error


def as_refresh_error(error: psycopg.Error) -> RefreshError:
    """Return the error that one of psycopg's means, in a session that was open."""
    # The error of a connection that breaks has no SQLSTATE; 08 is the class of such errors.
    sqlstate, message = error.sqlstate or "08", server_message(error)
    reason = reason_in(message, POOLER_WORDS) if sqlstate.startswith(_OF_POOLERS) else None
    reason = reason or reason_of_sqlstate(sqlstate)
    text = f"Postgres: {message}"
    return reason.error(f"{text}; {reason.remedy}" if reason.remedy else text)


def server_message(error: psycopg.Error) -> str:
    """Return the server's message, without the query it quotes and what the driver adds."""
    message = error.diag.message_primary or str(error).rpartition("FATAL:")[2]
    for prefix in ("connection failed: ", "connection is bad: "):
        message = message.removeprefix(prefix)
    return one_line(Exception(message))


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
    reason = reason_in(message, POOLER_WORDS) or reason_in(message, REFUSALS)
    if reason:
        return reason.error(f"Postgres: {message}; {reason.remedy}")
    return Unreachable(f"Postgres: {message}; check that it is up, and the address in DATABASE_URL")


def malformed_url(url: str = "") -> SettingsError:
    """Return the error for a DATABASE_URL that cannot be parsed, without quoting the URL.

    Args:
        url: The URL, for the names of parameters that only other programs know.
    """
    query = url.partition("?")[2]
    # What comes before an @ may be part of a password that is not encoded.
    parameters = [] if "@" in query else query.split("&")
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    names = [name for name in parameters if name in known]
    if names:
        return SettingsError(f"DATABASE_URL has {names[0]} without a value; write {names[0]}=…")
    names = [parameter.partition("=")[0] for parameter in parameters]
    unknown = [name for name in names if _NAME.fullmatch(name) and name not in known]
    if unknown:
        return SettingsError(
            f"DATABASE_URL has a parameter that Postgres does not know: {', '.join(unknown)}; take "
            "it out, as it is for another program; what Postgres knows is e.g. sslmode=require"
        )
    return SettingsError(
        "DATABASE_URL cannot be parsed; write it as postgresql://user:password@host:5432/database, "
        "with special characters of the password percent-encoded"
    )
