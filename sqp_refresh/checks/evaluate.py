"""Evaluate a table's measurements, period by period, and say what is wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqp_refresh.checks.metrics import CheckSeverity, Metric
from sqp_refresh.model.text import printable

NAMED = 3
"""A message names no more periods than this."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric of one period: what the table has, and what it should have where that is known.

    Attributes:
        metric: Name of the metric.
        period: The period.
        value: What the table has.
        expected: What it should have; None where that is not known.
        marketplace: The only marketplace whose rows were measured; None for those of all.
        detail: What a person should know beside the number; empty where there is nothing.
        is_pinned: Whether the period is pinned, so that its source says nothing of it.
    """

    metric: str
    period: str
    value: float | int | None
    expected: int | None = None
    marketplace: str | None = None
    detail: str = ""
    is_pinned: bool = False

    @property
    def place(self) -> str:
        """What was measured: a period, or one marketplace in it."""
        return f"{self.period} of {self.marketplace}" if self.marketplace else self.period


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one metric says of all the periods together.

    Attributes:
        metric: The metric, with its thresholds.
        measurements: Its value in each period.
        failing: Those that are not as they should be.
        value: What is recorded: the sum, or the worst.
        expected: The sum of what was expected; None where nothing was.
        ok: Whether all are as they should be; None where there was nothing to evaluate.
        is_error: Whether it is more than a warning.
    """

    metric: Metric
    measurements: Sequence[Measurement]
    failing: Sequence[Measurement]
    value: float | int | None
    expected: int | None
    ok: bool | None
    is_error: bool

    @property
    def judged(self) -> list[Measurement]:
        """The measurements that there is something to judge by."""
        return [
            measurement
            for measurement in self.measurements
            if _can_evaluate(self.metric, measurement)
        ]

    def of(self, measurement: Measurement) -> str:
        """Return the verdict on one period."""
        if not _can_evaluate(self.metric, measurement):
            is_pinned = measurement.is_pinned and self.metric.is_compared
            return "pinned" if is_pinned else "not judged"
        return "FAIL" if measurement in self.failing else "PASS"

    def as_json(self) -> dict[str, Any]:
        """Return it for programs: the numbers that are recorded, and the periods that fail."""
        return {
            "check": self.metric.check,
            "metric": self.metric.name,
            "value": self.value,
            "expected": self.expected,
            "threshold_min": self.metric.minimum,
            "threshold_max": self.metric.maximum,
            "ok": self.ok,
            "is_error": self.ok is False and self.is_error,
            "failing": list(dict.fromkeys(measurement.period for measurement in self.failing)),
            "pinned": [
                measurement.period
                for measurement in self.measurements
                if self.of(measurement) == "pinned"
            ],
            "failing_marketplaces": [
                [measurement.period, measurement.marketplace]
                for measurement in self.failing
                if measurement.marketplace
            ],
            "details": {
                measurement.period: measurement.detail
                for measurement in self.failing
                if measurement.detail
            },
        }

    def __str__(self) -> str:
        """Say in words what is wrong."""
        named = self.failing[:NAMED]
        values = ", ".join(
            f"{_number(failing.value)} in {failing.place}{_should(self.metric, failing)}"
            f"{f' ({failing.detail})' if failing.detail else ''}"
            for failing in named
        )
        more = len(self.failing) - len(named)
        others = f", and so on in {more} more" if more else ""
        return printable(f"{self.metric.name} is {values}{others}")


def evaluate(measured: Mapping[Metric, Sequence[Measurement]]) -> list[Verdict]:
    """Return what each metric says of its periods."""
    failing = _find_failing(measured)
    return [_verdict(metric, some, failing) for metric, some in measured.items()]


def load_pandera() -> None:
    """Load what evaluates, which takes half a second, so that the first verdict need not."""
    from sqp_refresh.checks.pandera_schemas import find_failing

    # Pandera loads the half of itself that looks at frames when it is first shown one.
    find_failing([])


def _find_failing(measured: Mapping[Metric, Sequence[Measurement]]) -> set[Measurement]:
    cases = [
        (metric, measurement)
        for metric, measurements in measured.items()
        for measurement in measurements
        if _can_evaluate(metric, measurement)
    ]
    if not cases:
        return set()
    # Pandera takes a while to import, and a process that only loads the checks evaluates nothing.
    from sqp_refresh.checks.pandera_schemas import find_failing

    places = find_failing([(metric, case.value or 0, case.expected) for metric, case in cases])
    return {cases[place][1] for place in places}


def _verdict(
    metric: Metric, measurements: Sequence[Measurement], all_failing: set[Measurement]
) -> Verdict:
    evaluated = [measurement for measurement in measurements if _can_evaluate(metric, measurement)]
    failing = [measurement for measurement in evaluated if measurement in all_failing]
    values = [measurement.value for measurement in evaluated if measurement.value is not None]
    above = metric.fails_above
    is_error = metric.severity is not CheckSeverity.WARNS or (
        above is not None and any(value > above for value in values)
    )
    expected = [measurement.expected or 0 for measurement in evaluated]
    return Verdict(
        metric=metric,
        measurements=measurements,
        failing=failing,
        value=_recorded(metric, values, failing),
        expected=sum(expected) if metric.is_compared and evaluated else None,
        ok=not failing if evaluated else None,
        is_error=is_error,
    )


def _can_evaluate(metric: Metric, measurement: Measurement) -> bool:
    if measurement.value is None:
        return False
    return not metric.is_compared or measurement.expected is not None


def _recorded(
    metric: Metric, values: Sequence[float | int], failing: Sequence[Measurement]
) -> float | int | None:
    """Return the one value that is recorded of all periods: the sum, or the worst."""
    if not values:
        return None
    if metric.is_added:
        return sum(values)
    if failing:
        values = [measurement.value for measurement in failing if measurement.value is not None]
    middle = ((metric.minimum or 0) + (metric.maximum or 0)) / 2
    return max(values, key=lambda value: abs(value - middle))


def _should(metric: Metric, measurement: Measurement) -> str:
    if metric.is_compared:
        return f" where the source says {_number(measurement.expected)}"
    bounds = (("at least", metric.minimum), ("at most", metric.maximum))
    texts = (f"{words} {_number(bound)}" for words, bound in bounds if bound is not None)
    return f", should be {' and '.join(texts)}"


def _number(value: float | int | None) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
