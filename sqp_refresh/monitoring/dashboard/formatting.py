"""Figures in words: as short as they can be said, each with its unit."""

from datetime import UTC, date, datetime, timedelta

from sqp_refresh.model.periods import ALL_TIME, DAYS_IN_WEEK
from sqp_refresh.monitoring.dashboard.figures import Metric, Night, TableState

UNKNOWN = "–"  # noqa: RUF001, a dash stands for what is not known
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MONTH_DAYS, _QUARTER_DAYS = 31, 92


def count(number: float | None) -> str:
    """A count, with its thousands apart."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def percent(number: float | None) -> str:
    """A percentage, never rounded up to 100."""
    if number is None:
        return UNKNOWN
    return "100 %" if number == 100 else f"{min(number, 99.9):.1f} %"


def seconds(number: float) -> str:
    """How long something took."""
    if number < 10:
        return f"{number:.1f} s"
    if number < 2 * _MINUTE:
        return f"{number:.0f} s"
    if number < 2 * _HOUR:
        return f"{number / _MINUTE:.0f} min"
    return f"{number / _HOUR:.1f} h"


def span(time: timedelta) -> str:
    """How far two moments are apart, in the unit that a person would say it in."""
    number = abs(time.total_seconds())
    for unit, length, least in (("days", _DAY, 2), ("h", _HOUR, 2), ("min", _MINUTE, 1)):
        if number >= least * length:
            return f"{number / length:.0f} {unit}"
    return "less than a minute"


def day(when: date) -> str:
    """A day, with its month in letters, so that nobody takes one for the other."""
    return f"{when.day} {when:%b %Y}"


def weekday(when: date) -> str:
    """A day, with its day of the week."""
    return f"{when:%a} {day(when)}"


def moment(when: datetime) -> str:
    """A moment, in UTC."""
    when = when.astimezone(UTC)
    return f"{weekday(when.date())}, {when:%H:%M} UTC"


def newest(state: TableState) -> str:
    """The newest week or period that a table has rows of."""
    first, last = state.newest_start, state.newest_end
    if first is None or last is None:
        return "no rows yet"
    if (first, last) == (ALL_TIME.start, ALL_TIME.end):
        return "whole table"
    length = (last - first).days + 1
    if length <= DAYS_IN_WEEK:
        opens = f"{first.day}" if first.month == last.month else f"{first.day} {first:%b}"
        return f"{opens} – {day(last)}"  # noqa: RUF001, a dash between two days
    if length <= _MONTH_DAYS:
        return f"{first:%B %Y}"
    return f"Q{(first.month + 2) // 3} {first.year}" if length <= _QUARTER_DAYS else f"{first:%Y}"


def days(number: int | None) -> str:
    """An age in days."""
    return UNKNOWN if number is None else "1 day" if number == 1 else f"{number} days"


def metric(found: Metric) -> str:
    """What one metric says: its value, and what it should be."""
    bounds = should(found)
    return f"{found.name} is {number(found.value)}{f', should be {bounds}' if bounds else ''}"


def should(found: Metric) -> str:
    """What a metric should be; empty where nothing says so."""
    if found.expected is not None:
        return number(found.expected)
    bounds = (("at least", found.minimum), ("at most", found.maximum))
    return " and ".join(f"{said} {number(bound)}" for said, bound in bounds if bound is not None)


def number(value: float | None) -> str:
    """A number of any size, with no more digits than it is worth."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


def night(found: Night) -> str:
    """One night of one table in a few lines."""
    lines = [f"{weekday(found.day)}: {found.status} in {seconds(found.seconds)}"]
    if found.refreshes > 1:
        lines.append(f"{found.refreshes} refreshes")
    lines.append(
        f"{count(found.inserted)} rows inserted, {count(found.updated)} updated, "
        f"{count(found.deleted)} deleted"
    )
    if found.freshness_days:
        lines.append(f"newest week ended {count(found.freshness_days.value)} days before")
    if found.judged:
        passed = len(found.judged) - len(found.broken)
        lines.append(f"{passed} of {len(found.judged)} checks passed")
    lines += [metric(one) for one in found.broken]
    return "\n".join([*lines, *([found.message] if found.message else [])])
