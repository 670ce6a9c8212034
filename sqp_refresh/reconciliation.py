"""What a table holds, compared with what its source says that it must, to the last unit."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqp_refresh import measures
from sqp_refresh.measures import DISTINCT_ASIN_COUNT, ROW_COUNT, SUMS, Measured
from sqp_refresh.postgres import Session
from sqp_refresh.tables import Table
from sqp_refresh.weeks import Period

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


def differences(session: Session, table: Table, states: States) -> list[Difference]:
    """Where a table does not hold what it must.

    Args:
        session: A session with the target.
        table: The table.
        states: The periods in question, and what each is made from.
    """
    holds = measures.measured(session, table, states, only=COMPARED)
    must = expected(session, table, states)
    return [
        Difference(period, name, holds[period][name], should)
        for period, numbers in must.items()
        for name, should in numbers.items()
        if name in holds[period] and holds[period][name] != should
    ]


def expected(session: Session, table: Table, states: States) -> Measured:
    """What each period must hold; one that the source has nothing of is not judged."""
    if table.source is None:
        return measures.derived(session, table, states)
    return {
        period: {name: state["expected"][name] for name in COMPARED if name in state["expected"]}
        for period, state in states.items()
        if state.get("source_rows") and "expected" in state
    }
