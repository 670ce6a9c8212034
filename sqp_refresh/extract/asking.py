"""Asking a question whose answer takes a while, and doing something else until it is there."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def asked(question: Callable[[], T]) -> "Future[T]":
    """Ask in a thread; `result()` waits for the answer, or raises what asking for it raised.

    The thread keeps no process alive: nobody has to wait for what nobody wants any more.
    """
    answer: Future[T] = Future()

    def ask() -> None:
        try:
            answer.set_result(question())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="asking", daemon=True).start()
    return answer
