"""A period counts as missing only between those that there are, whatever day it begins on."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.checks.run_checks import _of_table
from sqp_refresh.control.audit_log import Run
from sqp_refresh.model.periods import Period, periods_touched, weeks_between
from sqp_refresh.model.tables import TABLES, Table

ROLLED_UP = [TABLES[f"{grain}_summary"] for grain in ("weekly", "monthly", "quarterly", "yearly")]


def missing(table: Table, periods: list[Period]) -> int:
    measured = _of_table(table, dict.fromkeys(periods, 1), Run(1, {}), date(2030, 1, 1))
    return dict(measured)["missing_weeks"]


@given(st.sampled_from(ROLLED_UP), st.dates(date(2024, 1, 1), date(2027, 1, 1)), st.integers(0, 99))
def test_periods_in_a_row_miss_none(table, first, weeks):
    everything = list(weeks_between(first, date.fromordinal(first.toordinal() + 7 * weeks)))

    assert missing(table, periods_touched(everything, table.grain)) == 0


@pytest.mark.parametrize("table", ROLLED_UP, ids=lambda table: table.name)
def test_one_between_is_missed(table):
    first, gone, *others = periods_touched(
        weeks_between(date(2023, 1, 1), date(2025, 12, 31)), table.grain
    )

    assert missing(table, [first, *others]) == 1
    assert missing(table, [gone, *others]) == 0
