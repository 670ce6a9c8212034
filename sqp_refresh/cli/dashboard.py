"""The command that draws a picture of how the refreshes go."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from sqp_refresh.monitoring.dashboard.drawing import DAYS, KEPT_DAYS, draw
from sqp_refresh.monitoring.lateness import GRACE
from sqp_refresh.postgres.migrate import require_current
from sqp_refresh.settings import Settings


def dashboard(
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file; REFRESH_DASHBOARD_PATH by default."),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=KEPT_DAYS, help="Days to look back, today included.")
    ] = DAYS,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Draw each table now, and the last nights, as one HTML file that needs nothing beside it."""
    settings = Settings.read()
    require_current(settings.database_url)
    path = (output or settings.dashboard_path).absolute()
    # Dagster, which reads the cron expression, takes seconds to import.
    from sqp_refresh.defs.cron import last_tick

    now = datetime.now(UTC)
    tick = last_tick(settings, now - GRACE)
    figures = draw(settings.database_url, path, now, days=days, last_tick=tick)
    typer.echo(f"{path}: {figures.verdict}")
    if open_:
        typer.launch(str(path))
