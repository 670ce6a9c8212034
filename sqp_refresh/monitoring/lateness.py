"""Decide whether a table is overdue: the one rule, for status and dashboard.

It is no column of `sqp.refresh_freshness`, because it needs the ticks of REFRESH_CRON, which
Postgres does not know. A table that becomes due at noon waits for the next night's tick and is not
late until then; and where the daemon is dead, no run and no row in the database tells of the tick.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from sqp_refresh.monitoring.views import TableFreshness
from sqp_refresh.schema_name import SCHEMA

GRACE = timedelta(hours=1)
"""How long after its tick a table may wait for its turn before it counts as overdue, for the alert,
too: the re-runs of a night that failed end before."""


def is_overdue(table: TableFreshness, last_tick: datetime | None) -> bool:
    """Return whether a tick of the schedule came when the table was due, and no run served it.

    A table whose refresh failed is not overdue: a run served the tick, and the failure is shown as
    such.

    Args:
        table: The table.
        last_tick: The schedule's last tick that is at least `GRACE` ago; None where there is none.
    """
    if last_tick is None or not table.is_enabled or table.next_refresh_at > last_tick:
        return False
    return table.last_tick is None or table.last_tick < last_tick


def idle_ticks(tables: Sequence[TableFreshness], ticks: Sequence[datetime]) -> str:
    """Say that most ticks find no table due, where REFRESH_CRON has them come more often.

    Args:
        tables: Every registered table.
        ticks: Ticks of the schedule, in order.

    Returns:
        A sentence, or nothing where every tick may find a table due.
    """
    pause = min((later - tick for tick, later in pairwise(ticks)), default=None)
    hours = min((each.refresh_frequency_hours for each in tables if each.is_enabled), default=0)
    if pause is None or timedelta(hours=hours) <= pause:
        return ""
    minutes = round(pause.total_seconds() / 60)
    return (
        f"REFRESH_CRON ticks every {minutes} minutes, but takes a table again only when {hours} "
        f"hours have passed: refresh_frequency_hours in {SCHEMA}.refresh_config; `sqp-refresh "
        "refresh` takes every table now, and with --due those that are due"
    )
