"""Define the Sunday-Saturday week of Amazon's report, and the calendar periods above it.

A week is named by its Sunday. It belongs to the month, quarter and year that hold that Sunday,
so no week is split or counted twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import Self

DAYS_IN_WEEK = 7


class Grain(StrEnum):
    """The time that one row of a table covers."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"
    TABLE = "table"

    @property
    def published(self) -> "Grain":
        """Return the grain that is loaded at once: days by the week, as they are restated."""
        return Grain.WEEK if self is Grain.DAY else self

    @property
    def months(self) -> int:
        """Return the calendar months in one period of this grain.

        Raises:
            ValueError: for the others, which are not made of whole months.
        """
        lengths = {Grain.MONTH: 1, Grain.QUARTER: 3, Grain.YEAR: 12}
        if self not in lengths:
            raise ValueError(f"a {self} is not made of whole months")
        return lengths[self]


@dataclass(frozen=True, order=True, slots=True)
class Period:
    """Days in a row, both ends included: what one transaction loads."""

    start: date
    end: date

    def __str__(self) -> str:
        """Return the first day, which is also the partition key of a week."""
        return "the whole table" if self == ALL_TIME else self.start.isoformat()

    @classmethod
    def week_of(cls, day: date) -> Self:
        """Return the Sunday-Saturday week that contains `day`."""
        sunday = day - timedelta(days=day.isoweekday() % DAYS_IN_WEEK)
        return cls(sunday, sunday + timedelta(days=DAYS_IN_WEEK - 1))

    @classmethod
    def containing(cls, day: date, grain: Grain) -> Self:
        """Return what is loaded at once around `day`: a week, month, quarter, year or all time."""
        if grain is Grain.TABLE:
            return cls(date.min, date.max)
        if grain.published is Grain.WEEK:
            return cls.week_of(day)
        first_month = (day.month - 1) // grain.months * grain.months + 1
        start = day.replace(month=first_month, day=1)
        return cls(start, _add_months(start, grain.months) - timedelta(days=1))


ALL_TIME = Period(date.min, date.max)
"""The one period of a table that no column divides into weeks."""


def is_of_grain(period: Period, grain: Grain) -> bool:
    """Return whether a period is one of those that a table of this grain is loaded by."""
    if period == ALL_TIME or grain is Grain.TABLE:
        return period == ALL_TIME and grain is Grain.TABLE
    return period == Period.containing(period.start, grain)


def weeks_between(first: date, last: date) -> Iterator[Period]:
    """List the weeks from the one that contains `first` to the one that contains `last`."""
    week = Period.week_of(first)
    while week.start <= last:
        yield week
        week = Period.week_of(week.end + timedelta(days=1))


def finished_weeks(first: date, today: date) -> list[Period]:
    """List the weeks from the one that contains `first` to the last that ended before `today`."""
    return [week for week in weeks_between(first, today) if week.end < today]


def periods_touched(weeks: Iterable[Period], grain: Grain) -> list[Period]:
    """List the periods of `grain` that hold the Sunday of any of `weeks`, each once, in order."""
    return sorted({Period.containing(week.start, grain) for week in weeks})


def stretches(weeks: Iterable[Period]) -> Iterator[list[Period]]:
    """Group weeks that follow each other without a gap."""
    ordered = sorted(weeks)
    stretch = ordered[:1]
    for before, week in pairwise(ordered):
        if (week.start - before.start).days > DAYS_IN_WEEK:
            yield stretch
            stretch = []
        stretch.append(week)
    if stretch:
        yield stretch


def _add_months(first_of_month: date, months: int) -> date:
    month = first_of_month.month - 1 + months
    return first_of_month.replace(year=first_of_month.year + month // 12, month=month % 12 + 1)
