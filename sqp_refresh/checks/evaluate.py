"""A table's numbers, period by period, and what they say of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqp_refresh.checks.metrics import CheckSeverity, Metric

# A message names no more periods than this.
NAMED = 3


@dataclass(frozen=True, slots=True)
class Measurement:
    """One metric of one period: what the table has, and what it should have where that is known."""

    metric: str
    period: str
    value: float | int | None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one metric says of all the periods together.

    Attributes:
        metric: The metric, with its thresholds.
        measurements: Its value in each period.
        failing: Those that are not as they should be.
        value: What is recorded: the sum, or the worst.
        expected: The sum of what was expected; None where nothing was.
        ok: Whether all are as they should be; None where there was nothing to judge by.
        is_error: Whether it is more than a warning.
    """

    metric: Metric
    measurements: Sequence[Measurement]
    failing: Sequence[Measurement]
    value: float | int | None
    expected: int | None
    ok: bool | None
    is_error: bool

    def of(self, one: Measurement) -> str:
        """The verdict on one period."""
        if not _is_known(self.metric, one):
            return "not judged"
        return "FAIL" if one in self.failing else "PASS"

    def as_json(self) -> dict[str, Any]:
        """For programs: the numbers that are recorded, and the periods that fail."""
        return {
            "check": self.metric.check,
            "metric": self.metric.name,
            "value": self.value,
            "expected": self.expected,
            "threshold_min": self.metric.minimum,
            "threshold_max": self.metric.maximum,
            "ok": self.ok,
            "is_error": self.ok is False and self.is_error,
            "failing": [one.period for one in self.failing],
        }

    def __str__(self) -> str:
        """What is wrong, in words."""
        named = self.failing[:NAMED]
        said = ", ".join(
            f"{_number(one.value)} in {one.period}{_should(self.metric, one)}" for one in named
        )
        left = len(self.failing) - len(named)
        return f"{self.metric.name} is {said}{f', and so on in {left} more' if left else ''}"


def judge(measured: Mapping[Metric, Sequence[Measurement]]) -> list[Verdict]:
    """What each metric says of its periods."""
    failing = _failing(measured)
    return [_verdict(metric, some, failing) for metric, some in measured.items()]


def load_pandera() -> None:
    """Load what judges, which takes half a second, so that the first verdict need not."""
    from sqp_refresh.checks.pandera_schemas import failing

    # It loads the half of itself that looks at frames when it is first shown one.
    failing([])


def _failing(measured: Mapping[Metric, Sequence[Measurement]]) -> set[Measurement]:
    known = [
        (metric, one)
        for metric, measurements in measured.items()
        for one in measurements
        if _is_known(metric, one)
    ]
    if not known:
        return set()
    # Pandera takes a while to import, and whoever only loads the checks judges nothing.
    from sqp_refresh.checks.pandera_schemas import failing

    places = failing([(metric, one.value or 0, one.expected) for metric, one in known])
    return {known[place][1] for place in places}


def _verdict(
    metric: Metric, measurements: Sequence[Measurement], all_failing: set[Measurement]
) -> Verdict:
    known = [one for one in measurements if _is_known(metric, one)]
    failing = [one for one in known if one in all_failing]
    values = [one.value for one in known if one.value is not None]
    above = metric.fails_above
    is_error = metric.weight is not CheckSeverity.WARNS or (
        above is not None and any(value > above for value in values)
    )
    return Verdict(
        metric=metric,
        measurements=measurements,
        failing=failing,
        value=_recorded(metric, values, failing),
        expected=sum(one.expected or 0 for one in known) if metric.is_compared and known else None,
        ok=not failing if known else None,
        is_error=is_error,
    )


def _is_known(metric: Metric, one: Measurement) -> bool:
    return one.value is not None and (not metric.is_compared or one.expected is not None)


def _recorded(
    metric: Metric, values: Sequence[float | int], failing: Sequence[Measurement]
) -> float | int | None:
    if not values:
        return None
    if metric.is_added:
        return sum(values)
    if failing:
        values = [one.value for one in failing if one.value is not None]
    middle = ((metric.minimum or 0) + (metric.maximum or 0)) / 2
    return max(values, key=lambda value: abs(value - middle))


def _should(metric: Metric, one: Measurement) -> str:
    if metric.is_compared:
        return f" where the source says {_number(one.expected)}"
    bounds = (("at least", metric.minimum), ("at most", metric.maximum))
    said = " and ".join(f"{words} {_number(bound)}" for words, bound in bounds if bound is not None)
    return f", should be {said}"


def _number(value: float | int | None) -> str:
    return (
        "unknown"
        if value is None
        else f"{value:,.4g}"
        if isinstance(value, float)
        else f"{value:,}"
    )
