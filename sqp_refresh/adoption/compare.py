"""Compare our tables with those of the same names in another schema, and write nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from psycopg.rows import class_row

from sqp_refresh.adoption.compare_sql import (
    EXAMPLES,
    ROWS_BY_PERIOD,
    VALUES_BY_PERIOD,
    compare_rows,
)
from sqp_refresh.adoption.comparison import Example, PeriodRows, TableComparison
from sqp_refresh.adoption.pairing import Pairing, pair_columns
from sqp_refresh.adoption.relations import Relations, read_relations
from sqp_refresh.errors import NotFound, SchemaMismatch, SettingsError
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry.catalog import Catalog


@dataclass(frozen=True, slots=True)
class CompareRequest:
    """What is to be compared.

    Attributes:
        schema: The other schema.
        tables: Names of the tables; all that both schemas have if empty.
        first: A day of the first week; None is the oldest.
        last: A day of the last week; None is the newest.
        names: What columns there are of ours, before what is known of them.
        sample: How many examples are given of each column and way (count).
    """

    schema: str
    tables: Sequence[str] = ()
    first: date | None = None
    last: date | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    sample: int = 3


def compare(
    database_url: str, catalog: Catalog, request: CompareRequest
) -> Iterator[TableComparison]:
    """Compare tables, one after the other.

    Args:
        database_url: Where both schemas are.
        catalog: All tables.
        request: What is to be compared.

    Raises:
        SettingsError: the request names the own schema, or a table or column that is not ours.
        NotFound: the other schema is not there, or lacks the tables.
        RefreshError: Postgres cannot be asked.
    """
    _require_sensible(catalog, request)
    with connect(database_url) as session:
        with session.transaction():
            here = read_relations(session, SCHEMA)
            there = read_relations(session, request.schema)
        for name in _tables_of_both(catalog, request, here, there):
            yield _compare_table(session, catalog.table(name), here, there, request)


def _require_sensible(catalog: Catalog, request: CompareRequest) -> None:
    if request.schema == SCHEMA:
        raise SettingsError(f"{SCHEMA} is the schema itself; name the one to compare it with")
    if request.first and request.last and request.first > request.last:
        raise SettingsError(f"--from {request.first} is later than --to {request.last}")
    columns = {name for table in catalog.tables.values() for name in table.names}
    for older, ours in request.names.items():
        if ours not in columns:
            raise SettingsError(f"--map {older}={ours}: no table of {SCHEMA} has a column {ours}")


def _tables_of_both(
    catalog: Catalog, request: CompareRequest, here: Relations, there: Relations
) -> list[str]:
    named = [catalog.table(name).name for name in request.tables]
    for name in named:
        if name not in there:
            raise NotFound(f"there is no table {request.schema}.{name}")
    both = [name for name in named or catalog.tables if name in here and name in there]
    known = {column for name in both for column in there[name]}
    if unknown := [older for older in request.names if older not in known]:
        raise NotFound(f"--map {listing(unknown)}: no table that is compared has it there")
    if not both:
        raise NotFound(
            f"schema {request.schema} has none of the tables {', '.join(named or catalog.tables)}"
        )
    return both


def _compare_table(
    session: Session, table: Table, here: Relations, there: Relations, request: CompareRequest
) -> TableComparison:
    try:
        pairing = pair_columns(table, here, there, request.names)
    except SchemaMismatch as error:
        return TableComparison(table.name, problem=str(error))
    first, last = _days(table, request)
    # The temporary table goes with its transaction.
    with session.transaction():
        session.execute(compare_rows(pairing, request.schema, first, last))
        return _read_comparison(session, pairing, request.sample)


def _read_comparison(session: Session, pairing: Pairing, sample: int) -> TableComparison:
    periods = session.fetch_all(ROWS_BY_PERIOD, row_factory=class_row(PeriodRows))
    names = [pair.here.name for pair in pairing.values]
    values: dict[date | None, dict[str, dict[str, int]]] = {}
    for period, name, how, count in session.fetch_all(VALUES_BY_PERIOD, {"names": names}):
        values.setdefault(period, {}).setdefault(name, {})[how] = count
    examples = session.fetch_all(EXAMPLES, {"names": names, "sample": sample})
    key = [*([pairing.scope] if pairing.scope else []), *pairing.key]
    return TableComparison(
        pairing.table.name,
        periods,
        values,
        {pair.here.name: pair.there.name for pair in (*key, *pairing.values)},
        [pair.here.name for pair in key],
        pairing.only_here,
        pairing.only_there,
        [Example(*row) for row in examples],
    )


def _days(table: Table, request: CompareRequest) -> tuple[date | None, date | None]:
    """Return the first and the last day of the periods that hold the weeks asked for."""
    if table.grain is Grain.TABLE:
        return None, None
    first, last = (
        Period.containing(Period.week_of(day).start, table.grain) if day else None
        for day in (request.first, request.last)
    )
    return first and first.start, last and last.end
