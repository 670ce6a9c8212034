"""A page to look at rather than to read: each table now, and what the last nights did to it.

`figures` reads the operating views, `charts` draws, `words` puts figures into words, and `page` is
the HTML around it. Plotting and templates take seconds to import, so only drawing imports them.
"""

import os
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from sqp_refresh.errors import SettingsError
from sqp_refresh.monitoring.dashboard.figures import Figures, read
from sqp_refresh.postgres.session import connect

DAYS = 60
"""Days that the page looks back, unless something else is asked for."""

STALE_AFTER = timedelta(hours=30)
"""Age at which a page that is drawn every night says that it was not."""

KEPT_DAYS = 90
"""Days that the operating views look back."""


def draw(
    database_url: str,
    path: Path,
    at: datetime,
    *,
    days: int = DAYS,
    stale_after: timedelta = STALE_AFTER,
) -> Figures:
    """Draw the page into a file, which holds the old page until the new one is whole.

    Args:
        database_url: Where the operating views are.
        path: The file.
        at: The instant that the page is as of.
        days: Days to look back, today included.
        stale_after: The age at which the page, if it was not drawn anew, says so.

    Returns:
        What the page shows.

    Raises:
        SettingsError: the file cannot be written.
        RefreshError: the database cannot be read.
    """
    from sqp_refresh.monitoring.dashboard.page import rendered

    with connect(database_url) as session, session.transaction():
        figures = read(session, at, days=days)
    _write(path, rendered(figures, stale_after))
    return figures


def _write(path: Path, page: str) -> None:
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
