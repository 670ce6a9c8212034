"""Plot the medians as one page of bars, a row for each case."""

from pathlib import Path

from benchmarks.cases import Case
from benchmarks.report import Report

_OURS, _OTHERS = "#2563eb", "#94a3b8"
_BAR_PX, _HEAD_PX = 26, 70


def plot(report: Report, path: Path) -> None:
    """Write the page; it needs nothing from elsewhere."""
    from plotly.graph_objects import Bar, Figure
    from plotly.subplots import make_subplots

    medians = report.medians
    cases = [case for case in Case if any(run.case == case for run in medians)]
    bars = {case: [run for run in medians if run.case == case][::-1] for case in cases}
    heights = [_BAR_PX * len(bars[case]) + _HEAD_PX for case in cases]
    figure: Figure = make_subplots(
        rows=len(cases),
        subplot_titles=[f"{case}, seconds" for case in cases],
        row_heights=heights,
        vertical_spacing=_HEAD_PX / sum(heights) if len(cases) > 1 else 0,
    )
    for row, case in enumerate(cases, 1):
        names = [run.contender for run in bars[case]]
        ours = {"sqp_refresh", "nightly job"}
        figure.add_trace(
            Bar(
                x=[run.seconds for run in bars[case]],
                y=names,
                orientation="h",
                texttemplate="%{x:.1f}",
                marker_color=[_OURS if name in ours else _OTHERS for name in names],
            ),
            row=row,
            col=1,
        )
    figure.update_layout(
        title=f"{report.rows:,} rows into Postgres {report.server['server_version']}",
        height=sum(heights) + 2 * _HEAD_PX,
        template="plotly_white",
        showlegend=False,
    )
    figure.write_html(path, include_plotlyjs=True)
