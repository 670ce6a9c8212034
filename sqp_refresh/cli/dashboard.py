"""Define the command that draws the dashboard."""

from pathlib import Path
from typing import Annotated

import typer

from sqp_refresh.cli.common import load_settings, say
from sqp_refresh.monitoring.dashboard.drawing import DAYS, KEPT_DAYS, draw
from sqp_refresh.monitoring.lateness import GRACE
from sqp_refresh.postgres.session import read_clock


def dashboard(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write; REFRESH_DASHBOARD_PATH by default."),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=KEPT_DAYS, help="Days to look back, including today.")
    ] = DAYS,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Draw the state of each table, and the last nights, into one HTML file without other files."""
    settings = load_settings()
    path = (output or settings.dashboard_path).absolute()
    # Dagster, which reads the cron expression, takes seconds to import.
    from sqp_refresh.defs.cron import last_tick, next_tick

    now = read_clock(settings.database_url)
    tick = last_tick(settings, now - GRACE)
    figures = draw(
        settings.database_url,
        path,
        now,
        days=days,
        last_tick=tick,
        settings=settings,
        next_tick=lambda after: next_tick(settings, after),
    )
    say(f"{path}: {figures.verdict}")
    if open_:
        typer.launch(str(path))
