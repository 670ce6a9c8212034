"""Render the dashboard as one HTML file that needs no other file and no network.

Whatever comes from the database is escaped. The page's own policy allows its one style sheet and
its one script by their digests, and nothing else.
"""

import base64
import hashlib
from datetime import date, timedelta
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sqp_refresh import __version__
from sqp_refresh.model.text import printable
from sqp_refresh.monitoring.dashboard import formatting
from sqp_refresh.monitoring.dashboard.charts import Charts
from sqp_refresh.monitoring.dashboard.figures import Figures, Health, TableState
from sqp_refresh.monitoring.orchestrator import DAEMON_IS_LATE
from sqp_refresh.schema_name import SCHEMA

LISTED_NIGHTS = 14
"""Nights of each table that are listed in figures, beside the charts."""

LISTED_WEEKS = 24
"""Restated weeks that are listed, of all tables together."""

TONES = {
    Health.FAILED: "bad",
    Health.OVERDUE: "bad",
    Health.BLOCKED: "bad",
    Health.NEVER: "warn",
    Health.CHECKS_FAIL: "warn",
    Health.WARNING: "warn",
    Health.RUNNING: "good",
    Health.GOOD: "good",
    Health.OFF: "off",
}
"""The CSS class of each state."""


def render_page(figures: Figures, stale_after: timedelta) -> str:
    """Render the page.

    Args:
        figures: What the page shows.
        stale_after: The age at which the page, if it was not drawn again, says so.
    """
    # One night makes no chart: it is said in words.
    charts = Charts(figures) if len(figures.nights_by_day()) > 1 else None
    style, script = _read_asset("dashboard.css", "grid.css"), _read_asset("dashboard.js")
    values: dict[str, Any] = {
        "figures": figures,
        "at": figures.at,
        "headline": build_headline(figures),
        "charts": [charts and charts.draw_table(table.nights) for table in figures.tables],
        "overview": charts.draw_overview() if charts else {},
        "daemon_is_late": DAEMON_IS_LATE,
        "tones": TONES,
        "listed": LISTED_NIGHTS,
        "listed_weeks": LISTED_WEEKS,
        "stale_after_s": stale_after.total_seconds(),
        "version": __version__,
        "schema": SCHEMA,
        "css": style,
        "js": script,
        "policy": (
            f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
            f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
        ),
    }
    return _environment().get_template("dashboard.html.j2").render(values)


def build_headline(figures: Figures) -> dict[str, str]:
    """Return the few figures that stand above all others, by what they are."""
    by_day = figures.nights_by_day()
    last_night = by_day[max(by_day)] if by_day else []
    days = len(figures.days)
    seconds = sum(night.seconds for night in last_night)
    changed = sum(night.changed for night in last_night)
    return {
        f"refreshes that were a success, {days} days": formatting.format_percent(
            figures.success_rate
        ),
        f"checks passed, {days} days": formatting.format_percent(figures.pass_rate),
        "nights in a row without a failure": formatting.format_count(figures.good_nights),
        "the last night took": (
            formatting.format_duration(seconds) if last_night else formatting.UNKNOWN
        ),
        "rows changed in the last night": formatting.format_count(changed if last_night else None),
    } | _newest_week(figures)


def _newest_week(figures: Figures) -> dict[str, str]:
    weekly = [table.freshness for table in figures.tables if table.is_weekly]
    if not weekly:
        return {"since the newest week": formatting.UNKNOWN}
    newest = max(weekly, key=lambda table: table.newest_period_end or date.min)
    week = formatting.format_newest_period(newest)
    return {f"since the newest week, {week}": formatting.format_age(newest.days_behind)}


def list_problems(table: TableState) -> list[str]:
    """List what is wrong with a table, one line for each thing."""
    if table.health is Health.OVERDUE:
        return ["It was due and was not refreshed; see that the Dagster daemon runs."]
    if table.health is Health.BLOCKED:
        return [f"{table.blocked_by} is not right, and it is refreshed only after that one."]
    if table.health is Health.NEVER:
        return [f"sqp-refresh refresh --table {table.name} starts its first refresh."]
    message = table.freshness.last_message
    problems = [message] if message else []
    return problems + [f"{formatting.describe_metric(metric)}." for metric in table.failing]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sqp_refresh.monitoring.dashboard", "."),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
    )
    filters: dict[str, Any] = {
        "age": formatting.format_age,
        "count": formatting.format_count,
        "compact": formatting.format_compact,
        "describe": formatting.describe_night,
        "day": formatting.format_day,
        "hours": formatting.format_hours,
        "duration": formatting.format_duration,
        "expected": formatting.describe_expected,
        "instant": formatting.format_instant,
        "newest_period": formatting.format_newest_period,
        "number": formatting.format_number,
        "problems": list_problems,
        "span": formatting.format_span,
    }
    environment.filters |= filters
    return environment


def _read_asset(*names: str) -> Markup:
    # Our own files are trusted, so they are not escaped.
    folder = files("sqp_refresh.monitoring.dashboard")
    return Markup("\n".join(folder.joinpath(name).read_text("utf-8") for name in names))


def _digest(text: str) -> str:
    """Return the digest by which a Content-Security-Policy allows an inline style or script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
