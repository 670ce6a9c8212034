"""Open Dagster's own storage, which may be away, full or set wrongly, within a deadline.

Whatever Dagster, SQLAlchemy and the drivers raise then, it is one error of ours, in one line and
without a password.
"""

import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import dagster as dg
import yaml
from sqlalchemy.exc import SQLAlchemyError

from sqp_refresh.errors import Unreachable, one_line

Value = TypeVar("Value")

DEADLINE_S = 30
"""A server that does not answer would be waited for by the drivers, several times, for minutes."""

_UNSET = re.compile(r'environment variable "\w+"')


def has_home() -> bool:
    """Return whether DAGSTER_HOME says where Dagster's storage is."""
    return bool(os.environ.get("DAGSTER_HOME"))


def ask_instance(question: Callable[[dg.DagsterInstance], Value]) -> Value:
    """Open the instance of DAGSTER_HOME, and return what it answers.

    Args:
        question: Reads the instance.

    Raises:
        Unreachable: its storage cannot be read, or did not answer in time.
    """
    answers: list[Value] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            with dg.DagsterInstance.get() as instance:
                answers.append(question(instance))
        except Exception as error:  # Of Dagster, SQLAlchemy, a driver, the YAML, the file system.
            errors.append(error)

    # A thread that still waits does not keep the process from ending.
    thread = threading.Thread(target=ask, daemon=True)
    with _without_log_of_attempts():
        thread.start()
        thread.join(DEADLINE_S)
    if errors:
        raise unreadable(errors[0]) from errors[0]
    if not answers:
        raise unreadable(TimeoutError(f"it did not answer within {DEADLINE_S} s"))
    return answers[0]


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """Open the instance of DAGSTER_HOME for as long as the block lasts.

    Raises:
        Unreachable: its storage cannot be opened, or fails meanwhile.
    """
    try:
        instance = dg.DagsterInstance.get()
    except Exception as error:  # As in `ask_instance`.
        raise unreadable(error) from error
    try:
        with instance:
            yield instance
    except SQLAlchemyError as error:
        raise unreadable(error) from error


def unreadable(error: Exception) -> Unreachable:
    """Return the error for a storage that cannot be read, with the reason of reasons."""
    reason = _reason(error)
    remedy = (
        "check dagster.yaml in DAGSTER_HOME, and that the storage it names is up and has free space"
    )
    what = with_remedy_of_unset(reason) or f"{reason}; {remedy}"
    return Unreachable(f"Dagster's own storage cannot be used: {what}")


def with_remedy_of_unset(message: str) -> str | None:
    """Say which variable of dagster.yaml is not set, and what to do; None where it is not that."""
    unset = _UNSET.search(message)
    remedy = "load dagster.env, too, not refresh.env alone, or unset DAGSTER_HOME"
    return f"{unset[0]} is not set; {remedy}" if unset else None


def _reason(error: BaseException) -> str:
    # What Dagster says itself names the remedy; what it only passes on has a better reason below.
    while error.__cause__ and not isinstance(error, dg.DagsterError):
        error = error.__cause__
    if isinstance(error, dg.DagsterInvalidConfigError):
        # The message lists the whole schema, and the values that do not fit, a password too.
        unset = _UNSET.search(str(error))
        return f"{unset[0]} is not set" if unset else "dagster.yaml does not fit Dagster's schema"
    if isinstance(error, yaml.YAMLError):
        return "dagster.yaml is not YAML"
    message = one_line(error).rstrip(".")
    # A URL that was split in the wrong place: part of its password is in the message.
    return type(error).__name__ if "@" in message else message


@contextmanager
def _without_log_of_attempts() -> Iterator[None]:
    """Keep what the storage logs of its attempts from the terminal, which shows the outcome."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
