"""Refuse a table that the queries could not be derived from, before anything is read or written.

Each function yields what is wrong with one side of a table, in words that name the table, the
column and the remedy.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from sqp_refresh.model.periods import Grain
from sqp_refresh.model.table import (
    COUNT,
    DATE,
    PERIOD_COLUMNS,
    TEXT,
    Origin,
    SourceSpec,
    Table,
    measures_first,
)
from sqp_refresh.model.vendor_report import COUNT_SUFFIXES

_NAME = re.compile("[a-z_][a-z0-9_]{0,62}")
"""A name that neither Postgres nor BigQuery needs quotes for; both cut or refuse longer ones."""


def require_consistent(tables: Iterable[Table], *, rows: Table, titles: Table) -> dict[str, Table]:
    """Return the tables by name, if everything can be derived from what they say.

    Args:
        tables: All tables.
        rows: The table that every derived one copies or sums the rows of.
        titles: The table that a derived one may take further columns of an ASIN and week from.

    Raises:
        ValueError: something cannot; each line names the table, the column and the remedy.
    """
    tables = list(tables)
    by_name = {table.name: table for table in tables}
    problems = [
        f"{table.name}: {problem}"
        for table in tables
        for problem in _problems(table, by_name, rows, titles)
    ]
    problems += [*_of_all(tables, by_name)]
    if problems:
        raise ValueError("model/tables.py cannot be followed:\n" + "\n".join(problems))
    return by_name


def _problems(
    table: Table, tables: Mapping[str, Table], rows: Table, titles: Table
) -> Iterator[str]:
    yield from _of_names(table)
    yield from _of_values(table)
    yield from _of_scope(table)
    yield from _of_parents(table, tables)
    if (table.source is None) != (table.origin is Origin.POSTGRES):
        yield (
            f"its origin is {table.origin.name}, which does not go with its source; only a table "
            "that Postgres derives has none"
        )
    elif table.source is None:
        yield from _of_derived(table, rows, titles)
    elif table.origin is Origin.SOURCE_AGGREGATE:
        yield from _of_aggregate(table, table.source)
    else:
        yield from _of_source_rows(table, table.source)


def _of_names(table: Table) -> Iterator[str]:
    names = [column.name for column in table.columns]
    for name in [table.name, *names]:
        if not _NAME.fullmatch(name):
            yield f"{name!r} is no name; use up to 63 small letters, digits and underscores"
    for name, times in Counter(names).items():
        if times > 1:
            yield f"column {name} is there {times} times; name it once, in the key or in the values"
    if not table.group_key:
        yield "its key tells no rows of one period apart; add a column such as asin"
    if not table.values:
        yield "it has no column beside its key; add one to its values"


def _of_values(table: Table) -> Iterator[str]:
    """Look at how values are computed."""
    computed = [*table.ratios, *table.medians, *table.sums, *table.counts]
    values = {column.name: column.type for column in table.values}
    for name in dict.fromkeys([*computed, *sorted(table.kept_when_null)]):
        if name not in values:
            yield f"column {name} is computed or kept, but not among its values; add it there"
    for name in sorted(table.kept_when_null):
        if values.get(name, TEXT) != TEXT:
            yield f"column {name} is kept, so it must be {TEXT}, not {values[name]}"
    for name, times in Counter(computed).items():
        if times > 1:
            yield f"column {name} is computed in {times} ways; choose one"
    for name in [*table.sums, *table.counts]:
        if values.get(name, COUNT) != COUNT:
            yield f"column {name} counts, so it must be {COUNT}, not {values[name]}"
    for name in [*table.ratios, *table.medians]:
        if not values.get(name, "numeric").startswith("numeric"):
            yield f"column {name} is a fraction, so it must be numeric, not {values[name]}"
    for name, operands in table.ratios.items():
        for operand in operands:
            if operand not in values or operand in table.ratios or operand in table.medians:
                yield f"column {name} needs {operand} beside it, as a value that is no fraction"
    for column in table.columns:
        if _is_filled(table, column.name) and column.type != DATE:
            yield f"column {column.name} takes a day of the period, so it must be {DATE}"


def _of_scope(table: Table) -> Iterator[str]:
    """Look at what places a row in its period."""
    is_whole = table.grain is Grain.TABLE
    if table.source and is_whole != (table.source.week_title is None):
        yield "its grain must be TABLE where its source has no week_title, and only there"
    if is_whole:
        if table.scope is not None:
            yield f"its grain is TABLE, so it needs no scope; drop {table.scope}"
        return
    types = {column.name: column.type for column in table.key}
    if table.scope is None or types.get(table.scope) != DATE:
        yield f"its scope {table.scope} must be a column of its key, of type {DATE}"
    elif table.grain is Grain.DAY and table.scope != _day_column(table):
        yield f"its grain is DAY, so its scope must be the source's day, not {table.scope}"
    elif table.grain is not Grain.DAY and not _is_filled(table, table.scope):
        yield f"its scope must be one of {_one_of(PERIOD_COLUMNS)}, or its grain DAY"
    if table.source and table.grain.published is not Grain.WEEK:
        yield (
            f"its grain is {table.grain.name}, but BigQuery is read week by week; use WEEK or DAY, "
            "or derive it in Postgres"
        )


def _of_parents(table: Table, tables: Mapping[str, Table]) -> Iterator[str]:
    for parent in table.parents:
        if parent not in tables:
            yield f"its parent {parent} is no table; add it, or drop the dependency"


def _of_source_rows(table: Table, source: SourceSpec) -> Iterator[str]:
    if set(table.group_key) != set(source.key):
        yield (
            f"its key has {_one_of(table.group_key)} where rows as they come are told apart by "
            f"{_one_of(source.key)}; use that key, or aggregate them"
        )
    if table.is_grouped:
        yield "its rows are taken as they come; sums, counts and medians need SOURCE_AGGREGATE"
    names = {column.name for column in source.columns}
    yield from _of_copied(table, names, "its source")
    # Rows of one key that contradict each other are ranked by all measures, here and in BigQuery.
    measures = [
        column.name
        for column in measures_first(tuple(column.target for column in source.columns))
        if column.type not in (TEXT, DATE) and column.name not in source.key
    ]
    ranked = [column.name for column in table.values if column.name in measures]
    if source.is_vendor_report and ranked != measures:
        missing = [name for name in measures if name not in ranked]
        yield (
            "it must have every measure of its source, in that order: contradicting rows are "
            f"ranked by them; {f'add {_one_of(missing)}' if missing else 'reorder its values'}"
        )


def _of_aggregate(table: Table, source: SourceSpec) -> Iterator[str]:
    if not source.is_vendor_report:
        yield f"BigQuery aggregates the vendor's report alone; copy the rows of {source.name}"
    days = {table.scope} if table.grain is Grain.DAY else set()
    yield from _of_groups(table, source, [*source.key, *filter(None, days)])
    types = {column.name: column.type for column in source.columns}
    for name, measure in table.medians.items():
        if types.get(measure, TEXT) in (TEXT, DATE):
            yield f"column {name} is the median of {measure}, which is no number of the source"
    for name, counted in table.counts.items():
        if counted not in source.key:
            yield f"column {name} counts {counted}; only {_one_of(source.key)} can be counted"
    texts = {column.name for column in source.columns if column.type == TEXT}
    for column in table.values:
        if not _is_computed(table, column.name) and not (
            column.type == TEXT and column.name in texts
        ):
            yield (
                f"nothing says how column {column.name} is aggregated; name it in sums, counts, "
                "medians or ratios, or take a text of the source"
            )


def _of_derived(table: Table, rows: Table, titles: Table) -> Iterator[str]:
    assert rows.source, "the rows come from BigQuery"
    if rows.name not in table.parents:
        yield f"it is made from the rows of {rows.name}; add that to its parents"
    if table.grain is Grain.DAY:
        yield f"its grain is DAY, but {rows.name} has one row a week; use WEEK or longer"
    if table.medians:
        yield f"medians such as {min(table.medians)} need SOURCE_AGGREGATE; drop them"
    if not table.is_grouped:
        yield from _of_row_by_row(table, rows, titles)
        return
    yield from _of_groups(table, rows.source, rows.group_key)
    countable = (*rows.group_key, *filter(None, [rows.scope]))
    for name, counted in table.counts.items():
        if counted not in countable:
            yield f"column {name} counts {counted}; only {_one_of(countable)} can be counted"
    for column in table.values:
        if not _is_computed(table, column.name):
            yield (
                f"nothing says how column {column.name} is computed from several rows; name it in "
                "sums, counts or ratios"
            )


def _of_row_by_row(table: Table, rows: Table, titles: Table) -> Iterator[str]:
    if table.grain is not Grain.WEEK or set(table.group_key) != set(rows.group_key):
        yield (
            f"without sums or counts it has a row for each of {rows.name}, so its grain must be "
            f"WEEK and its key {_one_of(rows.group_key)}; say in sums and counts what is added up"
        )
    given = rows.names | (titles.names if titles.name in table.parents else set())
    yield from _of_copied(table, given, " or ".join(sorted({rows.name, *table.parents})))


def _of_copied(table: Table, given: Iterable[str], where: str) -> Iterator[str]:
    given = set(given)
    for column in table.columns:
        if column.name not in given and not _is_computed(table, column.name):
            yield f"column {column.name} is not in {where}; name it in ratios, or drop it"


def _of_groups(table: Table, source: SourceSpec, key: Sequence[str]) -> Iterator[str]:
    """Look at what rows are grouped by and what is added up.

    Args:
        table: The table.
        source: The report whose columns are added up.
        key: The columns that rows may be grouped by: those that are never null.
    """
    for name in table.group_key:
        if name not in key:
            yield f"column {name} of its key may be null or is unknown; choose from {_one_of(key)}"
    additive = {
        column.name
        for column in source.columns
        if column.type == COUNT and column.name.endswith(COUNT_SUFFIXES)
    }
    for name, measure in table.sums.items():
        if measure not in additive:
            yield f"column {name} adds up {measure}, which is no count of the source"
        # Every ASIN's row has the whole market's total of its query.
        elif not measure.startswith("asin_") and "asin" not in table.group_key:
            yield (
                f"column {name} adds up {measure}, which is the market's on every ASIN's row, so "
                "that it would be counted several times; add asin to its key, or drop the column"
            )


def _of_all(tables: Sequence[Table], by_name: Mapping[str, Table]) -> Iterator[str]:
    """Look at what several tables say together."""
    for name, times in Counter(table.name for table in tables).items():
        if times > 1:
            yield f"{name}: {times} tables have this name; rename one"
    try:
        TopologicalSorter({table.name: table.parents for table in tables}).prepare()
    except CycleError as error:
        yield f"{' -> '.join(error.args[1])}: the parents go round in a circle; drop one of them"
    # One query aggregates for all tables of a source, and gives each of its columns one meaning.
    meanings: dict[tuple[SourceSpec, str], tuple[str, object]] = {}
    for table in by_name.values():
        if table.source is None or table.origin is not Origin.SOURCE_AGGREGATE:
            continue
        for column, meaning in _meanings(table).items():
            first, other = meanings.setdefault((table.source, column), (table.name, meaning))
            if meaning != other:
                yield f"{table.name}: column {column} is another one in {first}; rename it"


def _meanings(table: Table) -> dict[str, tuple[str, str]]:
    """Return what BigQuery computes for each column of an aggregate."""
    texts = {column.name: column.name for column in table.values if column.type == TEXT}
    kinds = {"sum": table.sums, "count": table.counts, "median": table.medians, "latest": texts}
    return {
        name: (kind, measure) for kind, values in kinds.items() for name, measure in values.items()
    }


def _is_computed(table: Table, name: str) -> bool:
    return (
        name in table.ratios
        or name in table.medians
        or name in table.sums
        or name in table.counts
        or _is_filled(table, name)
    )


def _is_filled(table: Table, name: str) -> bool:
    """Return whether a column takes a day of its row's period."""
    read = {column.name for column in table.source.columns} if table.source else set()
    return name in PERIOD_COLUMNS and name not in read


def _day_column(table: Table) -> str | None:
    """Return the column that receives the date by which the source's rows are placed in weeks."""
    columns = table.source.columns if table.source else ()
    title = table.source.week_title if table.source else None
    return next((column.name for column in columns if column.title == title), None)


def _one_of(names: Iterable[str]) -> str:
    return ", ".join(names)
