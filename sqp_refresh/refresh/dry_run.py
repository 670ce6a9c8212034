"""Say what a refresh would do now, week by week, and why; nothing is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.ledger.decide import Decision, ReloadReason, decide
from sqp_refresh.ledger.ledger import published_periods
from sqp_refresh.ledger.verdicts import periods_to_repair
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.sources import Source, source_for, versions_to_compare
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

ToLoad = dict[str, list[Period]]
"""The periods that would be loaded, by table, as far as the plan has got."""


@dataclass(frozen=True, slots=True)
class PlannedPeriod:
    """What a refresh would do with one period of one table.

    Attributes:
        table: Name of the table.
        period: The week or period.
        reason: Whether it would be loaded, and why.
        rows: Rows that would be read, None where only doing it tells; where nothing would be
            loaded, the rows that the table has (count).
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
) -> Iterator[PlannedPeriod]:
    """Say what refreshing these tables over these weeks would do, parents first.

    Raises:
        RefreshError: Postgres or BigQuery cannot be asked.
    """
    requested, queries = set(names), RunQueries()
    to_load: ToLoad = {}
    with connect(settings.database_url) as session:
        for table in catalog.tables.values():
            if table.name not in requested:
                continue
            source = source_for(settings, table, weeks, queries=queries)
            periods = _periods(session, source, to_load)
            to_repair = periods_to_repair(session, table)
            # No transaction stands idle while BigQuery answers.
            session.rollback()
            versions = versions_to_compare(session, source, periods, to_repair)
            decisions = decide(session, table, versions, force=force)
            session.rollback()
            planned = list(_planned(source, decisions, to_load))
            to_load[table.name] = [entry.period for entry in planned if entry.reason.loads]
            yield from planned


def _periods(session: Session, source: Source, to_load: ToLoad) -> list[Period]:
    """List the periods asked for, and those above any other weeks that would be loaded."""
    asked, table = list(source.periods(session)), source.table
    if table.source is not None or not any(to_load.get(parent) for parent in table.parents):
        return asked
    above = [
        period
        for period in published_periods(session, table)
        if period not in asked and _is_touched(table, period, to_load)
    ]
    return sorted([*asked, *above])


def _planned(
    source: Source, decisions: Mapping[Period, Decision], to_load: ToLoad
) -> Iterator[PlannedPeriod]:
    table = source.table
    loads = [period for period, decision in decisions.items() if decision.reason.loads]
    # One query gives the rows of the same weeks to all tables that share it.
    is_shared = isinstance(source, BigQuerySource) and any(
        to_load.get(name) == loads for name in source.shares_query_with
    )
    for period, decision in decisions.items():
        reason, rows, billed = decision.reason, decision.rows, None
        if table.source is None and not reason.loads and _is_touched(table, period, to_load):
            reason, rows = ReloadReason.PARENT, None
        if reason.loads and isinstance(source, BigQuerySource):
            billed = 0 if is_shared else source.bytes_to_read([period])
        yield PlannedPeriod(table.name, period, reason, rows, billed)


def _is_touched(table: Table, period: Period, to_load: ToLoad) -> bool:
    return any(
        period.start <= week.start <= period.end
        for parent in table.parents
        for week in to_load.get(parent, ())
    )
