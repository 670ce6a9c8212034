"""Asking a question whose answer takes a while, and doing something else until it is there."""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

_REMEMBERED = 64  # more than one run asks


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What BigQuery has answered.

    Attributes:
        value: The answer.
        bytes_billed: What it has cost.
    """

    value: T
    bytes_billed: int


class Question(Generic[T]):
    """Something that BigQuery was asked, by one or by several who want to know."""

    def __init__(self, answer: "Future[Answer[T]]") -> None:
        self._answer = answer
        self._is_billed = False

    def answer(self) -> T:
        """The answer, once it is there; what went wrong is raised."""
        return self._answer.result().value

    def bill(self) -> int | None:
        """The bytes that the answer has cost, for the first who wants to know; then None."""
        if self._is_billed:
            return None
        self._is_billed = True
        return self._answer.result().bytes_billed

    @property
    def is_answered(self) -> bool:
        """Whether there is nothing to wait for any more."""
        return self._answer.done()

    @property
    def has_failed(self) -> bool:
        """Whether it is of no use to wait for the answer."""
        return self.is_answered and self._answer.exception() is not None


class QueryCache(Generic[T]):
    """QueryCache of one kind; the tables of a run that ask the same get one answer."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, Question[T]] = {}
        self._one_at_a_time = threading.Lock()

    def ask(self, key: Hashable | None, question: Callable[[], Answer[T]]) -> Question[T]:
        """Begin to ask; a question that was asked before is asked again only if that failed.

        Args:
            key: What is asked, of what, and as of when; None where the answer might be another one
                the next time.
            question: What gets the answer.
        """
        if key is None:
            return Question(asked(question))
        with self._one_at_a_time:
            if key not in self._asked or self._asked[key].has_failed:
                self._asked[key] = Question(asked(question))
            while len(self._asked) > _REMEMBERED:
                del self._asked[next(iter(self._asked))]
            return self._asked[key]


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
