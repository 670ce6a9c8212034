"""The deployment guide's list of success, as questions, and what an answer consists of."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from sqp_refresh.monitoring.views import Freshness

QUESTIONS = {
    "deployed": "all functions deployed without errors",
    "on_schedule": "orchestrator runs on schedule",
    "succeeding": "audit logs show successful refreshes",
    "checked": "data quality checks pass",
    "monitored": "monitoring dashboard displays metrics",
    "hands_off": "no manual intervention for 7 consecutive days",
}
"""The lines of the guide's list, in its order."""


class Severity(StrEnum):
    """What a problem means for the answer."""

    LOOK = "worth a look"
    NOT_YET = "not yet"
    BROKEN = "broken"
    UNANSWERED = "cannot be answered"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and what to do about it, in one line."""

    severity: Severity
    said: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the guide's list.

    Attributes:
        name: One of `QUESTIONS`.
        said: What the answer rests on.
        problems: What is wrong, if anything is.
    """

    name: str
    said: str
    problems: Sequence[Problem] = ()

    @property
    def answer(self) -> bool | None:
        """Yes, no, or None for what cannot be told; what is only worth a look is a yes."""
        found = {problem.severity for problem in self.problems}
        if Severity.UNANSWERED in found:
            return None
        return not found & {Severity.NOT_YET, Severity.BROKEN}


@dataclass(frozen=True, slots=True)
class Status:
    """All lines, and the tables that they speak of."""

    lines: Sequence[Line]
    tables: Sequence[Freshness] = ()

    @property
    def exit_status(self) -> int:
        """As monitoring systems read it.

        0 is well. 1 has something to look at, or has not yet got seven nights behind it. 2 is
        broken, or cannot be answered.
        """
        found = {problem.severity for line in self.lines for problem in line.problems}
        if found & {Severity.BROKEN, Severity.UNANSWERED}:
            return 2
        return 1 if found else 0

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        lines = [
            asdict(line) | {"question": QUESTIONS[line.name], "answer": line.answer}
            for line in self.lines
        ]
        tables = [asdict(table) for table in self.tables]
        return {"exit_status": self.exit_status, "lines": lines, "tables": tables}
