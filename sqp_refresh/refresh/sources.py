"""Where a table's rows come from: BigQuery, or the tables already in Postgres."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime

from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.periods import ALL_TIME, Grain, Period
from sqp_refresh.model.tables import Table
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh.settings import Settings


def source_for(
    settings: Settings,
    table: Table,
    weeks: Sequence[Period],
    instant: datetime | None = None,
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> BigQuerySource | RollupSource:
    """What feeds a table with these weeks; nothing is connected to yet.

    Args:
        settings: Where BigQuery is.
        table: The table.
        weeks: The weeks to feed it with; a table without weeks is fed whole.
        instant: When to read BigQuery as of; None is when it is first asked.
        meanwhile: What there is to do while BigQuery is waited for.
    """
    if table.source is None:
        return RollupSource(table, weeks)
    periods = [ALL_TIME] if table.grain is Grain.TABLE else weeks
    return BigQuerySource(settings, table, periods, instant, meanwhile=meanwhile)


def query_ahead(
    settings: Settings, tables: Iterable[Table], weeks: Sequence[Period], instant: datetime
) -> None:
    """Have BigQuery begin to count what these weeks hold, before the refreshes that wait for it.

    Args:
        settings: Where BigQuery is.
        tables: The tables that will be refreshed in this process.
        weeks: The weeks that they will be refreshed for.
        instant: When they will read BigQuery as of.
    """
    # What goes wrong does so for the refresh too, which puts it on record.
    with suppress(Exception):
        for table in {table.source: table for table in tables}.values():
            feed = source_for(settings, table, weeks, instant)
            if isinstance(feed, BigQuerySource):
                feed.query_ahead()
