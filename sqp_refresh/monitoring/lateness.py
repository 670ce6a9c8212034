"""Decide whether a table is overdue: the one rule, for status and dashboard.

It is no column of `sqp.refresh_freshness`, because it needs the ticks of REFRESH_CRON, which
Postgres does not know. A table that becomes due at noon waits for the next night's tick and is not
late until then; and where the daemon is dead, no run and no row in the database tells of the tick.
"""

from datetime import datetime, timedelta

from sqp_refresh.monitoring.views import TableFreshness

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
