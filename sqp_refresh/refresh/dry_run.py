"""What a refresh would do now, week by week, and why; nothing is written."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.ledger.ledger import Decision, ReloadReason, examine
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh.settings import Settings


@dataclass(frozen=True, slots=True)
class Planned:
    """What a refresh would do with one period of one table.

    Attributes:
        table: Name of the table.
        period: The week or period.
        reason: Whether it would be copied, and why.
        rows: Rows that would be read, None where only doing it tells; where nothing would be
            copied, the rows that the table has.
        bytes: Bytes that reading it would bill, by a dry run, 0 where the query of another table
            gives its rows too; None where BigQuery is not read.
    """

    table: str
    period: Period
    reason: ReloadReason
    rows: int | None
    bytes: int | None


def plan(
    settings: Settings,
    catalog: Catalog,
    names: Iterable[str],
    weeks: Sequence[Period],
    *,
    force: bool = False,
) -> Iterator[Planned]:
    """What refreshing these tables over these weeks would do, parents first.

    Raises:
        RefreshError: Postgres or BigQuery cannot be asked.
    """
    wanted, instant = set(names), datetime.now(UTC)
    copied: dict[str, list[Period]] = {}
    with connect(settings.database_url) as session:
        for table in catalog.tables.values():
            if table.name not in wanted:
                continue
            feed = source_for(settings, table, weeks, instant)
            periods = feed.periods(session)
            findings = examine(session, table, feed, periods, force=force)
            coming = [one for one, finding in findings.items() if finding.reason.copies]
            # One query gives the rows of the same weeks to all tables that it feeds.
            is_read = isinstance(feed, BigQuerySource) and any(
                copied.get(name) == coming for name in feed.read_with
            )
            planned = [
                _planned(table, feed, period, finding, copied, is_read)
                for period, finding in findings.items()
            ]
            copied[table.name] = [one.period for one in planned if one.reason.copies]
            session.rollback()
            yield from planned


def _planned(
    table: Table,
    feed: BigQuerySource | RollupSource,
    period: Period,
    finding: Decision,
    copied: dict[str, list[Period]],
    is_read: bool,
) -> Planned:
    reason, rows = finding.reason, finding.rows
    if table.source is None and not reason.copies and _touched(table, period, copied):
        reason, rows = ReloadReason.PARENT, None
    billed = None
    if reason.copies and isinstance(feed, BigQuerySource):
        billed = 0 if is_read else feed.bytes_to_read([period])
    return Planned(table.name, period, reason, rows, billed)


def _touched(table: Table, period: Period, copied: dict[str, list[Period]]) -> bool:
    return any(
        period.start <= week.start <= period.end
        for parent in table.parents
        for week in copied.get(parent, ())
    )
