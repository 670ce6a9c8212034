"""The dashboard as one HTML file that needs nothing beside itself, and no network.

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
from sqp_refresh.monitoring.dashboard import formatting
from sqp_refresh.monitoring.dashboard.charts import Scene
from sqp_refresh.monitoring.dashboard.figures import Figures, Health, TableState

LISTED = 14
"""Nights of each table that are also told in figures."""

TONES = {
    Health.FAILED: "bad",
    Health.OVERDUE: "bad",
    Health.NEVER: "warn",
    Health.CHECKS_FAIL: "warn",
    Health.WARNING: "warn",
    Health.RUNNING: "good",
    Health.GOOD: "good",
    Health.OFF: "off",
}


def rendered(figures: Figures, stale_after: timedelta) -> str:
    """The page, which says so when it is older than `stale_after` and nobody drew it anew."""
    scene = Scene(figures)
    style, script = (_asset(name) for name in ("dashboard.css", "dashboard.js"))
    return (
        _environment()
        .get_template("dashboard.html.j2")
        .render(
            figures=figures,
            at=figures.at,
            verdict=figures.verdict,
            headline=headline(figures),
            charts=[scene.of_table(table.nights) for table in figures.tables],
            overview=scene.overview(),
            tones=TONES,
            listed=LISTED,
            stale_after_s=stale_after.total_seconds(),
            version=__version__,
            css=style,
            js=script,
            policy=(
                f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; "
                f"script-src '{_digest(script)}'; base-uri 'none'; form-action 'none'"
            ),
        )
    )


def headline(figures: Figures) -> dict[str, str]:
    """The few figures that stand above all others, by what they are."""
    by_day = figures.by_day()
    last = by_day[max(by_day)] if by_day else []
    newest = max(
        (table for table in figures.tables if table.is_weekly),
        key=lambda table: table.newest_end or date.min,
        default=None,
    )
    days = len(figures.days)
    return {
        f"refreshes that were a success, {days} days": formatting.percent(figures.success_rate),
        f"checks passed, {days} days": formatting.percent(figures.pass_rate),
        "nights in a row without a failure": formatting.count(figures.good_nights),
        "the last night took": formatting.seconds(sum(night.seconds for night in last))
        if last
        else formatting.UNKNOWN,
        "rows changed in the last night": formatting.count(
            sum(night.changed for night in last) if last else None
        ),
        f"since the newest week, {formatting.newest(newest)}"
        if newest
        else "since the newest week": (
            formatting.days(newest.days_behind(figures.at) if newest else None)
        ),
    }


def trouble(table: TableState, health: Health) -> list[str]:
    """What is wrong with a table, one line for each thing."""
    if health is Health.OVERDUE:
        return ["It was due and was not refreshed; see that the Dagster daemon runs."]
    if health is Health.NEVER:
        return [f"sqp-refresh refresh --table {table.table} starts its first refresh."]
    said = [table.message] if table.message else []
    return said + [f"{formatting.metric(one)}." for one in table.broken]


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("sqp_refresh.monitoring.dashboard", "."),
        autoescape=True,
        undefined=StrictUndefined,
    )
    told: dict[str, Any] = {
        "count": formatting.count,
        "day": formatting.day,
        "days": formatting.days,
        "moment": formatting.moment,
        "newest": formatting.newest,
        "number": formatting.number,
        "seconds": formatting.seconds,
        "should": formatting.should,
        "span": formatting.span,
        "trouble": trouble,
    }
    made.filters |= told
    return made


def _asset(name: str) -> Markup:
    # Our own files, which the page holds as they are.
    return Markup(files("sqp_refresh.monitoring.dashboard").joinpath(name).read_text("utf-8"))


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
