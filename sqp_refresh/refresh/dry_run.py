"""Say what a refresh would do now, week by week, and why; nothing is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqp_refresh.errors import RefreshError
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.ledger.decide import Decision, ReloadReason, decide
from sqp_refresh.ledger.ledger import published_periods
from sqp_refresh.ledger.verdicts import periods_to_repair
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
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
        RefreshError: Postgres cannot be asked; or BigQuery cannot about some of the tables, which
            are named, and then this comes after all that the others would do.
    """
    requested, as_of, queries = set(names), datetime.now(UTC), RunQueries()
    to_load: ToLoad = {}
    failures: dict[str, RefreshError] = {}
    with connect(settings.database_url) as session:
        for table in catalog.tables.values():
            if table.name not in requested:
                continue
            source = source_for(settings, table, weeks, as_of, queries=queries)
            try:
                planned = _plan_table(session, source, to_load, force=force)
            except RefreshError as error:
                session.rollback()
                failures[table.name] = error
                continue
            to_load[table.name] = [entry.period for entry in planned if entry.reason.loads]
            yield from planned
    if failures:
        raise _together(failures)


def _plan_table(
    session: Session, source: Source, to_load: ToLoad, *, force: bool
) -> list[PlannedPeriod]:
    periods = _periods(session, source, to_load)
    to_repair = periods_to_repair(session, source.table)
    # No transaction stands idle while BigQuery answers.
    session.rollback()
    versions = versions_to_compare(session, source, periods, to_repair)
    decisions = decide(session, source.table, versions, force=force)
    session.rollback()
    return list(_planned(source, decisions, to_load))


def _together(failures: Mapping[str, RefreshError]) -> RefreshError:
    """Return one error for those of several tables; what is said of some of them is said once."""
    tables: dict[str, list[str]] = {}
    for table, error in failures.items():
        tables.setdefault(str(error), []).append(f"{SCHEMA}.{table}")
    message = "; ".join(f"{', '.join(of)} cannot be planned: {text}" for text, of in tables.items())
    first = next(iter(failures.values()))
    return type(first)(message, **first.details)


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
