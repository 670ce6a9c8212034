"""Define the events that alerts are sent for, and how much each matters."""

from enum import StrEnum


class Severity(StrEnum):
    """How soon somebody has to look."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Event(StrEnum):
    """One event that an alert is sent for; its value is the name that receivers see."""

    FAILED = "refresh.failed"
    WARNING = "refresh.warning"
    COMPLETED = "refresh.completed"
    QUALITY_FAILED = "quality.failed"
    OVERDUE = "refresh.overdue"
    RECOVERED = "refresh.recovered"
    WEEK_ARRIVED = "week.arrived"
    WEEK_FINAL = "week.final"
    DIGEST = "refresh.digest"
    TEST = "alerts.test"

    @property
    def severity(self) -> Severity:
        """Return how soon somebody has to look."""
        return _SEVERITY[self]


_SEVERITY = {
    Event.FAILED: Severity.HIGH,
    Event.WARNING: Severity.MEDIUM,
    Event.COMPLETED: Severity.LOW,
    Event.QUALITY_FAILED: Severity.HIGH,
    Event.OVERDUE: Severity.HIGH,
    Event.RECOVERED: Severity.LOW,
    Event.WEEK_ARRIVED: Severity.LOW,
    Event.WEEK_FINAL: Severity.LOW,
    Event.DIGEST: Severity.LOW,
    Event.TEST: Severity.LOW,
}

SUBSCRIBABLE = tuple(event for event in Event if event is not Event.TEST)
"""The events that a receiver can choose from; a test goes to every receiver."""

BY_NAME_ONLY = frozenset({Event.WEEK_ARRIVED, Event.WEEK_FINAL, Event.DIGEST})
"""Events that only those receivers get that name them: "all events" does not mean these."""
