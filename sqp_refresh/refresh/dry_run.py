"""Say what a refresh would do now, week by week, and why; nothing is written."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from sqp_refresh.errors import RefreshError
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.ledger.decide import Decision, ReloadReason, decide
from sqp_refresh.ledger.guard import is_held_back
from sqp_refresh.ledger.ledger import published_periods
from sqp_refresh.ledger.verdicts import periods_to_repair
from sqp_refresh.model.periods import Period, periods_touched
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.versions import ParentVersions, SourceVersion
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
        bytes: Bytes that reading it would bill: its part, by rows, of what a dry run says of all of
            the table's periods; 0 where the query of another table gives its rows too; None where
            BigQuery is not read.
        note: What else there is to know of it: why it is pinned, or that it is held back.
    """

    table: str
    period: Period
    reason: ReloadReason
    rows: int | None
    bytes: int | None
    note: str | None = None


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
    requested, queries = set(names), RunQueries()
    to_load: ToLoad = {}
    failures: dict[str, RefreshError] = {}
    with connect(settings.database_url) as session:
        for table in catalog.tables.values():
            if table.name not in requested:
                continue
            source = source_for(settings, table, weeks, queries=queries)
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
    touched = _touched(table, to_load) - {*asked}
    above = [period for period in published_periods(session, table) if period in touched]
    return sorted([*asked, *above])


def _planned(
    source: Source, decisions: Mapping[Period, Decision], to_load: ToLoad
) -> Iterator[PlannedPeriod]:
    table = source.table
    billed = _billed(source, decisions, to_load) if isinstance(source, BigQuerySource) else {}
    touched = _touched(table, to_load) if table.source is None else set[Period]()
    for period, decision in decisions.items():
        reason, rows = decision.reason, decision.rows
        if _has_nothing(decision) and period not in touched:
            reason, rows = ReloadReason.NOTHING, 0
        elif not reason.loads and not decision.pin and period in touched:
            reason, rows = ReloadReason.PARENT, None
        yield PlannedPeriod(table.name, period, reason, rows, billed.get(period), _note(decision))


def _has_nothing(decision: Decision) -> bool:
    """Return whether a period that was never published has no row in its source, either.

    Of a derived one, that is so unless a table that it is made from is to load some of it.
    """
    version = decision.version
    if decision.reason is not ReloadReason.NEW:
        return False
    if isinstance(version, ParentVersions):
        return not any(version.weeks.values())
    return isinstance(version, SourceVersion) and version.rows == 0


def _note(decision: Decision) -> str | None:
    """Say why a period is pinned, or that more of it has changed than may."""
    if decision.pin:
        return str(decision.pin)
    if is_held_back(decision):
        return "held back; --accept publishes it"
    return None


def _billed(
    source: BigQuerySource, decisions: Mapping[Period, Decision], to_load: ToLoad
) -> dict[Period, int]:
    """Return the bytes that each period to load would bill: its part of one query, by its rows."""
    loads = [
        period
        for period, decision in decisions.items()
        if decision.reason.loads and not _has_nothing(decision)
    ]
    # One query gives the rows of the same weeks to all tables that share it.
    if not loads or any(to_load.get(name) == loads for name in source.shares_query_with):
        return dict.fromkeys(loads, 0)
    # A query reads whatever lies between its first week and its last, Storage Read each week alone.
    of_query = loads
    if source.reads_week_by_week:
        of_query = [period for period in decisions if loads[0] <= period <= loads[-1]]
    rows = [decisions[period].rows or 0 for period in of_query]
    parts = shared_out(source.bytes_to_read(of_query), rows)
    billed = dict(zip(of_query, parts, strict=True))
    return {period: billed[period] for period in loads}


def shared_out(total: int, weights: Sequence[int]) -> list[int]:
    """Share a number out by weights, so that the parts add up to it; alike if all weights are 0."""
    until = list(accumulate(weights if any(weights) else [1] * len(weights)))
    cuts = [total * part // until[-1] for part in until]
    return [cut - before for before, cut in pairwise([0, *cuts])]


def _touched(table: Table, to_load: ToLoad) -> set[Period]:
    """Return the periods of a derived table that are made from any that would be loaded."""
    weeks = [week for parent in table.parents for week in to_load.get(parent, ())]
    return set(periods_touched(weeks, table.grain))
