"""The dashboard's charts, as SVG that takes its colours from the page around it.

They are drawn here and not in the browser: the page carries no plotting code, and the same picture
is light or dark as its reader's screen is. A night's figures are told in words where a pointer or
a finger is on it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from sqp_refresh.monitoring.dashboard import formatting
from sqp_refresh.monitoring.dashboard.figures import Figures, Night

WIDTH = 248
AXIS_WIDTH = 44
STRIP, PANEL, OVERVIEW = 26, 58, 84  # heights in px
TICK_DAYS = 14  # between two dates on an axis
WEEK = timedelta(days=7)

OUTCOMES = {"success": "var(--calm)", "warning": "var(--warn)", "failed": "var(--bad)"}
SIGNS = {"warning": "!", "failed": "×"}  # noqa: RUF001, told apart without colours too
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


class Scene:
    """The charts of one dashboard: all have the same days side by side."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._days = [str(day) for day in figures.days]

    def of_table(self, nights: Sequence[Night]) -> Markup:
        """One table's outcome, duration, changed rows and freshness, one below the other."""
        said = [{"day": str(night.day), "said": formatting.night(night)} for night in nights]
        drawn = {
            "": self._outcomes(nights),
            "Duration, seconds": [self._bars(_durations(nights))],
            "Rows changed": [self._stack(_changes(nights), CHANGES)],
        }
        if any(night.freshness_days for night in nights):
            drawn["Age of the newest week, days"] = self._ages(nights)
        last = next(reversed(drawn))
        panels = [
            self._panel(layers, said, title, PANEL if title else STRIP, dated=title == last)
            for title, layers in drawn.items()
        ]
        return _drawn(alt.vconcat(*panels).resolve_scale(color="independent"))

    def overview(self) -> Mapping[str, Markup]:
        """What all tables together did, by what it is called; nothing of no night."""
        by_day = self._figures.by_day()
        if not by_day:
            return {}
        outcomes = [
            {
                "day": str(day),
                "what": outcome,
                "value": sum(one.status == outcome for one in nights),
            }
            for day, nights in by_day.items()
            for outcome in OUTCOMES
        ]
        rates = [{"day": str(day), "value": self._rate(day)} for day in by_day]
        lasted = [
            {"day": str(day), "value": sum(night.seconds for night in nights)}
            for day, nights in by_day.items()
        ]
        changes = [
            {"day": str(day), "what": what, "value": sum(getattr(one, what) for one in nights)}
            for day, nights in by_day.items()
            for what in CHANGES
        ]
        return {
            "Tables refreshed, by outcome": self._alone(
                self._stack(outcomes, OUTCOMES), _told(outcomes, formatting.count)
            ),
            "Success rate of seven days, %": self._alone(
                self._line(rates, [0, 100]), _told(rates, formatting.percent)
            ),
            "Duration of a night, seconds": self._alone(
                self._bars(lasted), _told(lasted, formatting.seconds)
            ),
            "Rows changed": self._alone(
                self._stack(changes, CHANGES), _told(changes, formatting.count)
            ),
        }

    def _rate(self, day: date) -> float:
        """The success rate of the seven days that end with one."""
        nights = [
            night
            for other, of_day in self._figures.by_day().items()
            if day - WEEK < other <= day
            for night in of_day
        ]
        return 100 * sum(one.successes for one in nights) / sum(one.refreshes for one in nights)

    def _alone(self, layer: alt.Chart, said: Rows) -> Markup:
        return _drawn(self._panel([layer], said, "", OVERVIEW, dated=True))

    def _panel(
        self, layers: Iterable[alt.Chart], said: Rows, title: str, height: int, *, dated: bool
    ) -> alt.LayerChart | alt.FacetChart:
        # On top lies a column for each night, not seen, that tells of it.
        columns = alt.Chart(alt.Data(values=said)).mark_rect(fill="transparent")
        columns = columns.encode(x=self._x(self._dates(shown=dated)), description="said:N")
        return alt.layer(*layers, columns, title=title, width=WIDTH, height=height)

    # -- layers ------------------------------------------------------------------------------------

    def _outcomes(self, nights: Iterable[Night]) -> list[alt.Chart]:
        """A cell for each refresh and its checks; told apart by a sign, not by colour alone."""
        rows = [{"day": str(night.day), "of": "Refresh", "what": night.status} for night in nights]
        rows += [
            {"day": str(night.day), "of": "Checks", "what": "failed" if night.broken else "success"}
            for night in nights
            if night.judged
        ]
        rows = [row | {"sign": SIGNS.get(row["what"], "")} for row in rows]
        of = alt.Y(
            "of:N",
            title=None,
            scale=alt.Scale(domain=["Refresh", "Checks"], paddingInner=0.25),
            axis=alt.Axis(minExtent=AXIS_WIDTH, domain=False),
        )
        base = alt.Chart(alt.Data(values=rows)).encode(x=self._x(), y=of)
        cells = base.mark_rect(aria=False).encode(color=_coloured(OUTCOMES))
        signs = base.mark_text(aria=False, fontSize=8, fontWeight=700, color="var(--card)")
        return [cells, signs.encode(text="sign:N")]

    def _bars(self, rows: Rows) -> alt.Chart:
        chart = alt.Chart(alt.Data(values=rows)).mark_bar(aria=False)
        return chart.encode(x=self._x(), y=_measure())

    def _stack(self, rows: Rows, colours: Mapping[str, str]) -> alt.Chart:
        return self._bars([row for row in rows if row["value"]]).encode(color=_coloured(colours))

    def _line(self, rows: Rows, domain: Sequence[int] | None = None) -> alt.Chart:
        # A line through one night would not be seen.
        dot = {"fill": "var(--accent)", "size": 12} if len(rows) == 1 else False
        chart = alt.Chart(alt.Data(values=rows))
        chart = chart.mark_line(aria=False, color="var(--accent)", strokeWidth=1.5, point=dot)
        return chart.encode(x=self._x(), y=_measure(domain))

    def _ages(self, nights: Iterable[Night]) -> list[alt.Chart]:
        """The age of the newest week, and the one from which it counts as late."""
        measured = [(night.day, night.freshness_days) for night in nights]
        known = [(day, found) for day, found in measured if found]
        line = self._line([{"day": str(day), "value": found.value} for day, found in known])
        limits = [found.maximum for _, found in known if found.maximum is not None]
        rule = alt.Chart(alt.Data(values=[{"value": limit} for limit in limits[-1:]]))
        rule = rule.mark_rule(aria=False, color="var(--warn)", strokeDash=[3, 3])
        return [line, rule.encode(y=_measure())]

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


def _measure(domain: Sequence[int] | None = None) -> alt.Y:
    axis = alt.Axis(
        minExtent=AXIS_WIDTH,
        tickCount=3,
        values=[domain[0], sum(domain) / 2, domain[1]] if domain else alt.Undefined,
        labelExpr="format(datum.value, datum.value < 1000 ? '~r' : '~s')",
        domain=False,
    )
    scale = alt.Scale(domain=list(domain)) if domain else alt.Scale(domainMin=0, nice=True)
    return alt.Y("value:Q", title=None, axis=axis, scale=scale)


def _coloured(colours: Mapping[str, str]) -> alt.Color:
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    return alt.Color("what:N", legend=None, scale=scale)


def _durations(nights: Iterable[Night]) -> Rows:
    return [{"day": str(night.day), "value": night.seconds} for night in nights]


def _changes(nights: Iterable[Night]) -> Rows:
    return [
        {"day": str(night.day), "what": what, "value": getattr(night, what)}
        for night in nights
        for what in CHANGES
    ]


def _told(rows: Rows, word: Callable[[float], str]) -> Rows:
    """One line for each day: its values, and what they are of where there is more than one."""
    said: dict[str, list[str]] = {}
    for row in rows:
        said.setdefault(row["day"], []).append(
            f"{word(row['value'])} {row.get('what', '')}".strip()
        )
    return [
        {"day": day, "said": f"{formatting.weekday(date.fromisoformat(day))}: {', '.join(values)}"}
        for day, values in said.items()
    ]


def _drawn(chart: alt.TopLevelMixin) -> Markup:
    spec = chart.properties(padding=2, config=_CONFIG).to_dict()
    # What Vega writes is markup, in which every text of ours is escaped.
    return Markup(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))
