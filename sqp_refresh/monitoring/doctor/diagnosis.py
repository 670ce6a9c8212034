"""Define the result of one of the doctor's checks, in one line."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqp_refresh.errors import RefreshError, Unreachable


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of one check.

    Attributes:
        subject: What was checked.
        is_ok: Whether it is as it should be.
        message: What was found, or what is wrong and what to do about it.
        is_answered: Whether it could be told at all.
    """

    subject: str
    is_ok: bool
    message: str
    is_answered: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the diagnosis for programs."""
        return {"about": self.subject, "ok": self.is_ok, "said": self.message}


def diagnose(subject: str, check: Callable[[], str]) -> Diagnosis:
    """Run a check, and return what it returns where all is well, or the error that it raises.

    Args:
        subject: What is checked.
        check: Returns a message, or raises a RefreshError whose message says what to do.
    """
    try:
        return Diagnosis(subject, True, check())
    except RefreshError as error:
        return failed(subject, error)


def failed(subject: str, error: RefreshError) -> Diagnosis:
    """Return the diagnosis that an error is."""
    return Diagnosis(subject, False, str(error), is_answered=not isinstance(error, Unreachable))
