"""Where a table's rows come from: BigQuery, or the tables already in Postgres."""

from collections.abc import Callable, Sequence
from datetime import datetime

from sqp_refresh.extract import BigQueryFeed
from sqp_refresh.rollup import Rollup
from sqp_refresh.settings import Settings
from sqp_refresh.tables import Table
from sqp_refresh.weeks import ALL_TIME, Grain, Period


def feed_for(
    settings: Settings,
    table: Table,
    weeks: Sequence[Period],
    instant: datetime | None = None,
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> BigQueryFeed | Rollup:
    """What feeds a table with these weeks; nothing is connected to yet.

    Args:
        settings: Where BigQuery is.
        table: The table.
        weeks: The weeks to feed it with; a table without weeks is fed whole.
        instant: When to read BigQuery as of; None is when it is first asked.
        meanwhile: What there is to do while BigQuery is waited for.
    """
    if table.source is None:
        return Rollup(table, weeks)
    periods = [ALL_TIME] if table.grain is Grain.TABLE else weeks
    return BigQueryFeed(settings, table, periods, instant, meanwhile=meanwhile)
