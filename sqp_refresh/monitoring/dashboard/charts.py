"""Draw the dashboard's charts, as SVG that takes its colours from the page around it.

They are drawn here and not in the browser: the page carries no plotting code, and the same picture
is light or dark as its reader's screen is. A night's figures are shown as text where a pointer or a
finger is on it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from sqp_refresh.monitoring.dashboard import formatting
from sqp_refresh.monitoring.dashboard.figures import Figures
from sqp_refresh.monitoring.views import Night

WIDTH = 248
AXIS_WIDTH = 44
STRIP, PANEL, OVERVIEW = 26, 58, 84  # heights in px
TICK_DAYS = 14  # between two dates on an axis
FEWEST_DAYS = 14  # that an axis has, however few nights there are
WEEK = timedelta(days=7)

OUTCOMES = {"success": "var(--calm)", "warning": "var(--warn)", "failed": "var(--bad)"}
SIGNS = {"warning": "!", "failed": "×"}  # noqa: RUF001, for those who see no colours
CHANGES = {
    "inserted": "var(--inserted)",
    "updated": "var(--updated)",
    "deleted": "var(--deleted)",
}
_SOFT, _LINE = "var(--soft)", "var(--line)"
_CONFIG: dict[str, Any] = {
    "background": "transparent",
    "view": {"stroke": None},
    "concat": {"spacing": 14},
    "bar": {"color": "var(--accent)"},
    "title": {
        "anchor": "start",
        "color": _SOFT,
        "fontSize": 11,
        "fontWeight": 500,
        "frame": "group",
        "offset": 6,
    },
    "axis": {
        "domainColor": _LINE,
        "gridColor": _LINE,
        "labelColor": _SOFT,
        "labelFontSize": 10,
        "tickColor": _LINE,
        "ticks": False,
        "labelPadding": 4,
    },
}

Rows = list[dict[str, Any]]


class Charts:
    """The charts of one dashboard: all have the same days side by side."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        first = min(figures.nights_by_day(), default=figures.days[0])
        since = min(first, figures.days[-FEWEST_DAYS:][0])
        self._days = [str(day) for day in figures.days if day >= since]

    def draw_table(self, nights: Sequence[Night]) -> Markup:
        """Draw one table's outcome, duration, changed rows and freshness, one below the other."""
        labels = [
            {"day": str(night.day), "label": formatting.describe_night(night)} for night in nights
        ]
        layers_by_title = {
            "": self._outcomes(nights),
            "Duration, seconds": [self._bars(_durations(nights))],
        }
        if any(night.changed for night in nights):
            layers_by_title["Rows changed"] = [self._stack(_changes(nights), CHANGES)]
        if any(night.freshness_days for night in nights):
            layers_by_title["Age of the newest week, days"] = self._ages(nights)
        # The panels share their days, so only the lowest one has the dates.
        last = next(reversed(layers_by_title))
        panels = [
            self._panel(layers, labels, title, PANEL if title else STRIP, dated=title == last)
            for title, layers in layers_by_title.items()
        ]
        return _to_svg(alt.vconcat(*panels).resolve_scale(color="independent"))

    def draw_overview(self) -> Mapping[str, Markup]:
        """Draw what all tables together did, by title, as far as there is something to draw."""
        by_day = self._figures.nights_by_day()
        outcomes, changes = _outcome_counts(by_day), _change_counts(by_day)
        rates = [{"day": str(day), "value": self._rate(day)} for day in by_day]
        durations = [
            {"day": str(day), "value": sum(night.seconds for night in nights)}
            for day, nights in by_day.items()
        ]
        count, percent = formatting.format_count, formatting.format_percent
        seconds = formatting.format_duration
        charts = {
            "Tables refreshed, by outcome": self._single(
                self._stack(outcomes, OUTCOMES), outcomes, count
            ),
            "Success rate of seven days, %": self._single(
                self._line(rates, [0, 100]), rates, percent
            ),
            "Duration of a night, seconds": self._single(self._bars(durations), durations, seconds),
        }
        if any(change["value"] for change in changes):
            charts["Rows changed"] = self._single(self._stack(changes, CHANGES), changes, count)
        return charts

    def _rate(self, day: date) -> float:
        """Return the success rate of the seven days that end with a day (percent)."""
        nights = [night for night in self._figures.nights if day - WEEK < night.day <= day]
        return (
            100
            * sum(night.successes for night in nights)
            / sum(night.refreshes for night in nights)
        )

    def _single(self, layer: alt.Chart, rows: Rows, format_value: Callable[[float], str]) -> Markup:
        labels = _labels(rows, format_value)
        return _to_svg(self._panel([layer], labels, "", OVERVIEW, dated=True))

    def _panel(
        self, layers: Iterable[alt.Chart], labels: Rows, title: str, height: int, *, dated: bool
    ) -> alt.LayerChart | alt.FacetChart:
        # On top lies an invisible column for each night, whose description the page shows where a
        # pointer is on it.
        columns = alt.Chart(alt.Data(values=labels)).mark_rect(fill="transparent")
        columns = columns.encode(x=self._x(self._dates(shown=dated)), description="label:N")
        return alt.layer(*layers, columns, title=title, width=WIDTH, height=height)

    # -- layers ------------------------------------------------------------------------------------

    def _outcomes(self, nights: Sequence[Night]) -> list[alt.Chart]:
        """Draw a cell for each refresh and its checks, with a sign where a colour is not seen."""
        y = alt.Y(
            "row:N",
            title=None,
            scale=alt.Scale(domain=["Refresh", "Checks"], paddingInner=0.25),
            axis=alt.Axis(minExtent=AXIS_WIDTH, domain=False),
        )
        base = alt.Chart(alt.Data(values=_outcome_cells(nights))).encode(x=self._x(), y=y)
        cells = base.mark_rect(aria=False).encode(color=_colour(OUTCOMES))
        signs = base.mark_text(aria=False, fontSize=8, fontWeight=700, color="var(--card)")
        return [cells, signs.encode(text="sign:N")]

    def _bars(self, rows: Rows) -> alt.Chart:
        chart = alt.Chart(alt.Data(values=rows)).mark_bar(aria=False)
        return chart.encode(x=self._x(), y=_value_axis())

    def _stack(self, rows: Rows, colours: Mapping[str, str]) -> alt.Chart:
        return self._bars([row for row in rows if row["value"]]).encode(color=_colour(colours))

    def _line(self, rows: Rows, domain: Sequence[int] | None = None) -> alt.Chart:
        # A line through one night would not be seen.
        dot = {"fill": "var(--accent)", "size": 12} if len(rows) == 1 else False
        chart = alt.Chart(alt.Data(values=rows))
        chart = chart.mark_line(aria=False, color="var(--accent)", strokeWidth=1.5, point=dot)
        return chart.encode(x=self._x(), y=_value_axis(domain))

    def _ages(self, nights: Iterable[Night]) -> list[alt.Chart]:
        """Draw the age of the newest week, and the age from which it counts as late."""
        measured = [(night.day, night.freshness_days) for night in nights]
        ages = [(day, metric) for day, metric in measured if metric]
        line = self._line([{"day": str(day), "value": metric.value} for day, metric in ages])
        # The threshold may have been moved; the latest one is drawn.
        limits = [metric.maximum for _, metric in ages if metric.maximum is not None]
        rule = alt.Chart(alt.Data(values=[{"value": limit} for limit in limits[-1:]]))
        rule = rule.mark_rule(aria=False, color="var(--warn)", strokeDash=[3, 3])
        return [line, rule.encode(y=_value_axis())]

    def _x(self, axis: alt.Axis | None = None) -> alt.X:
        scale = alt.Scale(domain=self._days, paddingInner=0.2, paddingOuter=0)
        return alt.X("day:O", title=None, scale=scale, axis=axis or alt.Undefined)

    def _dates(self, *, shown: bool) -> alt.Axis:
        return alt.Axis(
            # The last one is a week before the end, where there is room for it.
            values=self._days[: -TICK_DAYS // 2][::-TICK_DAYS],
            labels=shown,
            labelAngle=0,
            labelPadding=8,
            labelExpr="utcFormat(utcParse(datum.value, '%Y-%m-%d'), '%-d %b')",
            grid=False,
        )


def _value_axis(domain: Sequence[int] | None = None) -> alt.Y:
    axis = alt.Axis(
        minExtent=AXIS_WIDTH,
        tickCount=3,
        values=[domain[0], sum(domain) / 2, domain[1]] if domain else alt.Undefined,
        labelExpr="format(datum.value, datum.value < 1000 ? '~r' : '~s')",
        domain=False,
    )
    scale = alt.Scale(domain=list(domain)) if domain else alt.Scale(domainMin=0, nice=True)
    return alt.Y("value:Q", title=None, axis=axis, scale=scale)


def _colour(colours: Mapping[str, str]) -> alt.Color:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color("what:N", legend=None, scale=scale)


def _outcome_cells(nights: Sequence[Night]) -> Rows:
    cells = [("Refresh", night.day, night.status) for night in nights]
    cells += [
        ("Checks", night.day, "failed" if night.failing else "success")
        for night in nights
        if night.judged
    ]
    return [
        {"row": row, "day": str(day), "what": outcome, "sign": SIGNS.get(outcome, "")}
        for row, day, outcome in cells
    ]


def _durations(nights: Iterable[Night]) -> Rows:
    return [{"day": str(night.day), "value": night.seconds} for night in nights]


def _changes(nights: Iterable[Night]) -> Rows:
    return [
        {"day": str(night.day), "what": change, "value": getattr(night, change)}
        for night in nights
        for change in CHANGES
    ]


def _outcome_counts(by_day: Mapping[date, Sequence[Night]]) -> Rows:
    return [
        {
            "day": str(day),
            "what": outcome,
            "value": sum(night.status == outcome for night in nights),
        }
        for day, nights in by_day.items()
        for outcome in OUTCOMES
    ]


def _change_counts(by_day: Mapping[date, Sequence[Night]]) -> Rows:
    return [
        {"day": str(day), "what": change, "value": sum(getattr(night, change) for night in nights)}
        for day, nights in by_day.items()
        for change in CHANGES
    ]


def _labels(rows: Rows, format_value: Callable[[float], str]) -> Rows:
    """Return a label for each day: its values, and what they are where there is more than one."""
    values_by_day: dict[str, list[str]] = {}
    for row in rows:
        value = f"{format_value(row['value'])} {row.get('what', '')}".strip()
        values_by_day.setdefault(row["day"], []).append(value)
    return [
        {
            "day": day,
            "label": f"{formatting.format_weekday(date.fromisoformat(day))}: {', '.join(values)}",
        }
        for day, values in values_by_day.items()
    ]


def _to_svg(chart: alt.TopLevelMixin) -> Markup:
    spec = chart.properties(padding=2, config=_CONFIG).to_dict()
    # What Vega writes is markup already, in which every text of ours is escaped.
    return Markup(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
