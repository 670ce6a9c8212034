"""What a table holds, compared with what its source says that it must, to the last unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqp_refresh.checks import metric_sql
from sqp_refresh.checks.metric_sql import DISTINCT_ASIN_COUNT, ROW_COUNT, SUMS, Measured
from sqp_refresh.checks.period_totals import PeriodTotals
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.session import Session

COMPARED = (ROW_COUNT, DISTINCT_ASIN_COUNT, *SUMS)

States = Mapping[Period, Mapping[str, Any]]
"""Periods, and what each was made from."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A number of one period that is not what the source says."""

    period: Period
    metric: str
    value: int
    expected: int

    def __str__(self) -> str:
        """In words."""
        return f"{self.metric} of {self.period} is {self.value:,}, should be {self.expected:,}"


def differences(
    session: Session, table: Table, period: Period, state: Mapping[str, Any], holds: PeriodTotals
) -> list[Difference]:
    """Where a table does not hold what it must of a period.

    Args:
        session: A session with the target.
        table: The table.
        period: The period in question.
        state: What it is made from.
        holds: What the table holds of it.
    """
    must = expected(session, table, {period: state}).get(period, {})
    return [
        Difference(period, name, holds.numbers[name], should)
        for name, should in must.items()
        if name in holds.numbers and holds.numbers[name] != should
    ]


def expected(session: Session, table: Table, states: States) -> Measured:
    """What each period must hold; one that the source has nothing of is not judged."""
    if table.source is None:
        return metric_sql.expected_of_derived(session, table, states)
    return {
        period: {name: state["expected"][name] for name in COMPARED if name in state["expected"]}
        for period, state in states.items()
        if state.get("source_rows") and "expected" in state
    }
