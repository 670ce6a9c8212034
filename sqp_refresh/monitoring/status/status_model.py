"""Define the deployment guide's list of success as questions, and what an answer consists of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqp_refresh.alerts.mutes import Mute
from sqp_refresh.monitoring.views import TableFreshness

QUESTIONS = {
    "deployed": "all functions deployed without errors",
    "on_schedule": "orchestrator runs on schedule",
    "succeeding": "audit logs show successful refreshes",
    "checked": "data quality checks pass",
    "monitored": "monitoring dashboard displays metrics",
    "hands_off": "no manual intervention for 7 consecutive days",
}
"""The criteria of the guide's list, in its order."""


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
    message: str


@dataclass(frozen=True, slots=True)
class Criterion:
    """One criterion of the guide's list, and whether it is met.

    Attributes:
        name: One of `QUESTIONS`.
        message: What the answer rests on.
        problems: What is wrong, if anything is.
    """

    name: str
    message: str
    problems: Sequence[Problem] = ()

    @property
    def is_met(self) -> bool | None:
        """Return the answer, None where there is none; what is only worth a look is a yes."""
        severities = {problem.severity for problem in self.problems}
        if Severity.UNANSWERED in severities:
            return None
        return not severities & {Severity.NOT_YET, Severity.BROKEN}

    def as_json(self) -> dict[str, Any]:
        """Return the criterion for programs."""
        return {
            "name": self.name,
            "said": self.message,
            "problems": [
                {"severity": problem.severity, "said": problem.message} for problem in self.problems
            ],
            "question": QUESTIONS[self.name],
            "answer": self.is_met,
        }


@dataclass(frozen=True, slots=True)
class Status:
    """All criteria, and the tables that they are about.

    Attributes:
        criteria: Every question of the guide's list with its answer.
        tables: Every registered table.
        next_nights: The tick of the schedule that takes each enabled table next, by its name.
        mutes: What receivers are not alerted of.
    """

    criteria: Sequence[Criterion]
    tables: Sequence[TableFreshness] = ()
    next_nights: Mapping[str, datetime] = field(default_factory=dict)
    mutes: Sequence[Mute] = ()

    @property
    def exit_status(self) -> int:
        """Return the exit status as monitoring systems read it.

        0 is well. 1 has something to look at, or has not yet got seven nights behind it. 2 is
        broken, or cannot be answered.
        """
        problems = [problem for criterion in self.criteria for problem in criterion.problems]
        severities = {problem.severity for problem in problems}
        if severities & {Severity.BROKEN, Severity.UNANSWERED}:
            return 2
        return 1 if severities else 0

    def as_json(self) -> dict[str, Any]:
        """Return the status for programs."""
        return {
            "exit_status": self.exit_status,
            "lines": [criterion.as_json() for criterion in self.criteria],
            "tables": [
                _table_as_json(table) | {"next_night": self.next_nights.get(table.table_name)}
                for table in self.tables
            ],
            "mutes": [mute.as_json() for mute in self.mutes],
        }


def _table_as_json(table: TableFreshness) -> dict[str, Any]:
    return {
        "table": table.table_name,
        "is_enabled": table.is_enabled,
        "newest": table.newest_period_start,
        "days_behind": table.days_behind,
        "rows": table.row_count,
        "last_refresh_at": table.last_refresh_at,
        "next_refresh_at": table.next_refresh_at,
        "frequency_hours": table.refresh_frequency_hours,
        "last_status": table.last_status,
        "last_message": table.last_message,
    }
