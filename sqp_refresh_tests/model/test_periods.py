import calendar
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.model.periods import Grain, Period, finished_weeks, periods_touched, weeks_between

days = st.dates(date(1990, 1, 1), date(2100, 1, 1))


@given(days)
def test_a_week_runs_from_sunday_to_saturday_and_contains_its_day(day):
    week = Period.week_of(day)

    assert week.start.weekday() == calendar.SUNDAY
    assert week.end - week.start == timedelta(days=6)
    assert week.start <= day <= week.end


@given(days, st.sampled_from([Grain.MONTH, Grain.QUARTER, Grain.YEAR]))
def test_calendar_periods_tile_time(day, grain):
    period = Period.containing(day, grain)

    assert period.start <= day <= period.end
    assert period.start.day == 1
    assert Period.containing(period.end + timedelta(days=1), grain).start > period.end
    assert Period.containing(period.start, grain) == Period.containing(period.end, grain) == period


@given(days, st.integers(0, 400))
def test_the_weeks_between_two_days_are_all_and_each_once(first, length):
    weeks = list(weeks_between(first, first + timedelta(days=length)))

    assert weeks[0] == Period.week_of(first)
    assert weeks[-1] == Period.week_of(first + timedelta(days=length))
    assert [week.start for week in weeks] == [
        weeks[0].start + timedelta(days=7 * n) for n in range(len(weeks))
    ]


@pytest.mark.parametrize(
    ("grain", "start", "end"),
    [
        (Grain.WEEK, date(2024, 12, 29), date(2025, 1, 4)),
        (Grain.MONTH, date(2024, 12, 1), date(2024, 12, 31)),
        (Grain.QUARTER, date(2024, 10, 1), date(2024, 12, 31)),
        (Grain.YEAR, date(2024, 1, 1), date(2024, 12, 31)),
    ],
)
def test_a_week_belongs_to_the_period_of_its_sunday(grain, start, end):
    new_year = Period.week_of(date(2025, 1, 1))

    assert periods_touched([new_year], grain) == [Period(start, end)]


def test_a_week_is_finished_the_day_after_its_saturday():
    first = date(2024, 8, 18)

    assert finished_weeks(first, date(2024, 8, 24)) == []
    assert finished_weeks(first, date(2024, 8, 25)) == [Period.week_of(first)]
