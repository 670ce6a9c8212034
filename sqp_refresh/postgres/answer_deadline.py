"""End a connection on which an answer does not come, although the server has long sent one.

Each statement has a deadline, which the server keeps: it answers in time, if only with an error. A
pooler between may lose that answer and keep the connection open, and libpq would wait for ever.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg

ANSWER_S = 40 * 60
"""The half hour of `statement_timeout`, and what the server takes to roll back."""
POLL_S = 15

_asked: dict[int, tuple[float, psycopg.Connection[Any]]] = {}
"""The connections that wait for an answer, by their ids, and since when."""
_watch = threading.Lock()
"""Held for ever by the one thread of a process that watches them."""


@contextmanager
def awaiting_answer(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """Have the connection ended, as if it were lost, if the block takes far too long."""
    _asked[id(connection)] = (time.monotonic(), connection)
    try:
        yield
    finally:
        _asked.pop(id(connection), None)


def watch() -> None:
    """Begin to watch the connections of this process, unless that is done already."""
    if _watch.acquire(blocking=False):
        threading.Thread(target=_end_those_overdue, name="answers of Postgres", daemon=True).start()


def _end_those_overdue() -> None:
    while True:
        time.sleep(POLL_S)
        now = time.monotonic()
        for since, connection in list(_asked.values()):
            if now - since > ANSWER_S:
                # A connection that has ended meanwhile has no descriptor to duplicate.
                with suppress(psycopg.Error, OSError):
                    _hang_up(connection)


def _hang_up(connection: psycopg.Connection[Any]) -> None:
    """Shut down the socket, so that libpq, which waits in another thread, sees its end."""
    with socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)
