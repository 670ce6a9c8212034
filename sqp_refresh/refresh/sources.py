"""Choose where a table's rows come from: BigQuery, or the tables already in Postgres."""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol, runtime_checkable

from sqp_refresh.errors import SettingsError
from sqp_refresh.extract.aggregates.observation import SourceObservation
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.extract.source import AsOf, BigQuerySource, WantedInstant
from sqp_refresh.model.periods import ALL_TIME, Grain, Period
from sqp_refresh.model.rows import PeriodRows, ReadStats
from sqp_refresh.model.tables import Table
from sqp_refresh.model.versions import Version
from sqp_refresh.postgres.session import Session, read_clock
from sqp_refresh.refresh.lookback import default_weeks
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh.settings import Settings


@runtime_checkable
class Source(Protocol):
    """Where a table's rows come from. Nothing is opened or read before it is asked for."""

    table: Table
    stats: ReadStats
    batch_size: int | None

    def periods(self, session: Session) -> Sequence[Period]:
        """Return the periods there are to load, in order of time."""
        ...

    def versions(self, session: Session, periods: Sequence[Period]) -> Mapping[Period, Version]:
        """Read what each period is made from, at a fraction of the cost of its rows."""
        ...

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        """Read the rows of these periods, in order; each is used up before the next is read."""
        ...


def source_for(
    settings: Settings,
    table: Table,
    weeks: Sequence[Period],
    as_of: AsOf | None = None,
    *,
    queries: RunQueries | None = None,
    while_waiting: Callable[[], None] = lambda: None,
) -> BigQuerySource | RollupSource:
    """Return the source of a table's rows in these weeks; nothing is connected to yet.

    Args:
        settings: Where BigQuery is.
        table: The table.
        weeks: The weeks to read; a table without weeks is read whole.
        as_of: When to read BigQuery as of; None is when a table of the run first asks it.
        queries: The queries of the run, which its tables share; None shares nothing.
        while_waiting: What there is to do while BigQuery is waited for.
    """
    if table.source is None:
        return RollupSource(table, weeks)
    periods = [ALL_TIME] if table.grain is Grain.TABLE else weeks
    return BigQuerySource(
        settings,
        table,
        periods,
        as_of,
        queries=queries or RunQueries(),
        while_waiting=while_waiting,
    )


def versions_to_compare(
    session: Session, source: Source, periods: Sequence[Period], to_repair: Iterable[Period]
) -> dict[Period, Version]:
    """Read what periods are made from, and what those are that must be made again in any case.

    Args:
        session: A session with the target; where BigQuery is asked, in no transaction.
        source: Where the table's rows come from.
        periods: The periods that were asked for.
        to_repair: The periods that must be made again, see `ledger.verdicts`.

    Returns:
        The version of each period, in order of time.
    """
    versions = dict(source.versions(session, periods))
    others = [period for period in to_repair if period not in versions]
    if others:
        # Asked for apart, so that the tables of a run go on sharing the query for its own weeks.
        versions |= source.versions(session, others)
    return dict(sorted(versions.items()))


def reads_period_by_period(source: Source) -> bool:
    """Return whether several writers can read a source, each its own periods of it.

    The result of a query over all weeks is read once, from beginning to end.
    """
    return not isinstance(source, BigQuerySource) or source.reads_week_by_week


def observe_source(
    settings: Settings, table: Table, weeks: Sequence[Period] | None
) -> SourceObservation:
    """Look at the source of a table, of which nothing is loaded.

    Args:
        settings: Where BigQuery is.
        table: A table that is filled from it.
        weeks: The weeks to look at; None is the look-back.

    Raises:
        RefreshError: BigQuery cannot be asked.
    """
    looked_at = default_weeks(settings, read_clock(settings.database_url).date())
    source = source_for(settings, table, weeks or looked_at)
    assert isinstance(source, BigQuerySource), "it is filled from BigQuery"
    return source.observe()


def require_instant(settings: Settings, tables: Iterable[Table], instant: WantedInstant) -> None:
    """Require that the sources of tables can be read as of an instant, before anything is written.

    Args:
        settings: Where BigQuery is.
        tables: The tables that are to be refreshed as of it.
        instant: The instant.

    Raises:
        SettingsError: BigQuery does not remember it, one of the sources is a view, or none of the
            tables is filled from BigQuery.
        RefreshError: BigQuery cannot be asked.
    """
    filled = {table.source: table for table in tables if table.source}
    if not filled:
        raise SettingsError(
            "--source-as-of needs a table that is filled from BigQuery; those that are derived "
            "from it follow"
        )
    for table in filled.values():
        source = source_for(settings, table, [], instant)
        assert isinstance(source, BigQuerySource), "it is filled from BigQuery"
        source.look_up()


def prefetch_versions(
    settings: Settings,
    tables: Iterable[Table],
    weeks: Sequence[Period],
    as_of: AsOf | None,
    queries: RunQueries,
) -> None:
    """Have BigQuery begin to count what these weeks hold, before the refreshes that wait for it.

    Args:
        settings: Where BigQuery is.
        tables: The tables that will be refreshed in this process.
        weeks: The weeks that they will be refreshed for.
        as_of: When they will read BigQuery as of; None is now, which `queries` then knows.
        queries: The queries of the run that will refresh them.
    """
    for table in {table.source: table for table in tables}.values():
        # What goes wrong does so for the refresh too, which puts it on record.
        with suppress(Exception):
            source = source_for(settings, table, weeks, as_of, queries=queries)
            if isinstance(source, BigQuerySource):
                source.prefetch_versions()
