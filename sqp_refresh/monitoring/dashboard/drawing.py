"""Draw the dashboard into a file.

`figures` computes what is shown, `charts` draws it, `formatting` writes figures as texts, and
`page` is the HTML around them. Plotting and templates take seconds to import, so they are imported
only to draw.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from sqp_refresh.errors import SettingsError
from sqp_refresh.monitoring.dashboard.figures import Figures, read_figures
from sqp_refresh.monitoring.doctor.diagnosis import diagnose
from sqp_refresh.monitoring.doctor.postgres_checks import check_writable
from sqp_refresh.postgres.session import connect
from sqp_refresh.settings import Settings

DAYS = 60
"""Days that the page looks back by default."""

STALE_AFTER = timedelta(hours=30)
"""Age at which a page that is drawn every night says that it was not."""

KEPT_DAYS = 90
"""Days that the monitoring views look back."""


def draw(
    database_url: str,
    path: Path,
    at: datetime,
    *,
    days: int = DAYS,
    last_tick: datetime | None = None,
    stale_after: timedelta = STALE_AFTER,
    settings: Settings | None = None,
    next_tick: Callable[[datetime], datetime] | None = None,
) -> Figures:
    """Draw the page into a file, which holds the old page until the new one is complete.

    Args:
        database_url: Where the monitoring views are.
        path: The file.
        at: The instant that the page is as of.
        days: Days to look back, today included.
        last_tick: The schedule's last tick that is at least `lateness.GRACE` ago; without it, no
            table counts as overdue.
        stale_after: The age at which the page, if it was not drawn again, says so.
        settings: Where dataset, runs and runbook are; those of this process by default.
        next_tick: Returns the schedule's next tick at an instant or after it; without it, the page
            says when a table is due, not in which night that is.

    Returns:
        What the page shows.

    Raises:
        SettingsError: the file cannot be written.
        RefreshError: the database cannot be read.
    """
    from sqp_refresh.monitoring.dashboard.page import render_page

    with connect(database_url) as session:
        # Without writes, no run is on record that could be shown as failed.
        writes = diagnose("writes", lambda: check_writable(session))
        problem = None if writes.is_ok else writes.message
        with session.transaction():
            figures = read_figures(
                session,
                at,
                days=days,
                last_tick=last_tick,
                problem=problem,
                settings=settings,
                next_tick=next_tick,
            )
    _write(path, render_page(figures, stale_after))
    return figures


def _write(path: Path, page: str) -> None:
    # Whoever opens the page while it is written sees the old one: a rename is atomic.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(page, "utf-8")
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink()
        raise SettingsError(
            f"the dashboard cannot be written to {path}: {error.strerror}; choose another file "
            "with --output, or REFRESH_DASHBOARD_PATH"
        ) from None
