"""Write figures as short texts, each with its unit."""

from datetime import UTC, date, datetime, timedelta

from sqp_refresh.model.periods import ALL_TIME, DAYS_IN_WEEK
from sqp_refresh.model.text import printable
from sqp_refresh.monitoring.views import MetricResult, Night, TableFreshness

UNKNOWN = "–"  # noqa: RUF001, a dash stands for what is not known
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_MONTH_DAYS, _QUARTER_DAYS = 31, 92


def format_count(number: float | None) -> str:
    """Write a count, with separators between the thousands."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def format_compact(number: int) -> str:
    """Write a count in at most four characters, e.g. 4.1k: enough to see what is odd."""
    for unit, size in (("M", 999_500), ("k", 1000)):
        if number >= size:
            scaled = number / (1_000_000 if unit == "M" else 1000)
            return f"{scaled:.1f}{unit}" if scaled < 9.95 else f"{scaled:.0f}{unit}"
    return str(number)


def format_hours(hours: float | None) -> str:
    """Write a number of hours."""
    return UNKNOWN if hours is None else format_span(timedelta(hours=float(hours)))


def format_percent(number: float | None) -> str:
    """Write a percentage, never rounded up to 100."""
    if number is None:
        return UNKNOWN
    return "100 %" if number == 100 else f"{min(number, 99.9):.1f} %"


def format_duration(seconds: float) -> str:
    """Write how long something took."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < 2 * _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    return f"{seconds / _HOUR:.1f} h"


def format_span(time: timedelta) -> str:
    """Write how far two instants are apart, in the unit that a person would say it in."""
    seconds = abs(time.total_seconds())
    for unit, length, least in (("days", _DAY, 2), ("h", _HOUR, 2), ("min", _MINUTE, 1)):
        if seconds >= least * length:
            return f"{seconds / length:.0f} {unit}"
    return "less than a minute"


def format_day(day: date) -> str:
    """Write a day with its month in letters, so that nobody takes the one for the other."""
    return f"{day.day} {day:%b %Y}"


def format_weekday(day: date) -> str:
    """Write a day, with its day of the week."""
    return f"{day:%a} {format_day(day)}"


def format_instant(instant: datetime) -> str:
    """Write an instant, in UTC."""
    instant = instant.astimezone(UTC)
    return f"{format_weekday(instant.date())}, {instant:%H:%M} UTC"


def format_newest_period(table: TableFreshness) -> str:
    """Write the newest week or longer period that a table has rows of."""
    first, last = table.newest_period_start, table.newest_period_end
    if first is None or last is None:
        return "no rows yet"
    if (first, last) == (ALL_TIME.start, ALL_TIME.end):
        return "whole table"
    length = (last - first).days + 1
    if length <= DAYS_IN_WEEK:
        start = f"{first.day}" if first.month == last.month else f"{first.day} {first:%b}"
        return f"{start} – {format_day(last)}"  # noqa: RUF001, a dash between two days
    if length <= _MONTH_DAYS:
        return f"{first:%B %Y}"
    return f"Q{(first.month + 2) // 3} {first.year}" if length <= _QUARTER_DAYS else f"{first:%Y}"


def format_age(days: int | None) -> str:
    """Write an age in days."""
    return UNKNOWN if days is None else "1 day" if days == 1 else f"{days} days"


def format_number(number: float | None) -> str:
    """Write a whole number in full, any other with three significant digits."""
    if number is None:
        return UNKNOWN
    return f"{number:,.0f}" if float(number).is_integer() else f"{number:,.3g}"


def describe_metric(metric: MetricResult) -> str:
    """Write a metric's value, and what it should be."""
    expected = describe_expected(metric)
    value = format_number(metric.value)
    return f"{metric.name} is {value}{f', should be {expected}' if expected else ''}"


def describe_expected(metric: MetricResult) -> str:
    """Write what a metric should be; empty where nothing says so."""
    if metric.expected is not None:
        return format_number(metric.expected)
    bounds = (("at least", metric.minimum), ("at most", metric.maximum))
    return " and ".join(
        f"{words} {format_number(bound)}" for words, bound in bounds if bound is not None
    )


def describe_night(night: Night) -> str:
    """Write what one night did to one table, in a few lines."""
    lines = [f"{format_weekday(night.day)}: {night.status} in {format_duration(night.seconds)}"]
    if night.refreshes > 1:
        lines.append(f"{night.refreshes} refreshes")
    lines.append(
        f"{format_count(night.inserted)} rows inserted, {format_count(night.updated)} updated, "
        f"{format_count(night.deleted)} deleted"
    )
    if night.freshness_days:
        lines.append(f"newest week ended {format_count(night.freshness_days.value)} days before")
    if night.judged:
        passed = len(night.judged) - len(night.failing)
        lines.append(f"{passed} of {len(night.judged)} checks passed")
    lines += map(describe_metric, night.failing)
    if night.message:
        lines.append(night.message)
    return printable("\n".join(lines))
