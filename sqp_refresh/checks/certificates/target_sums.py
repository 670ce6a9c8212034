"""Add up every certified column of periods, as Postgres has it: the other side of a certificate.

Of a table that BigQuery fills row by row, all columns are certified; of one that it aggregates, or
that is derived, what sums up or counts rows below; of a copy in Postgres, the numbers that it
copies. BigQuery's side of the first two is in `extract`; that of derived tables is added up here,
over the rows that they are made from.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import cache

from psycopg import sql

from sqp_refresh.model.column_sums import ColumnSum, ColumnSums, Summed, scale_of, summed_as
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, Column, Origin, Table
from sqp_refresh.postgres.period_sql import (
    PERIOD_END,
    PERIOD_START,
    REQUESTED,
    REQUESTED_DAYS,
    between_days,
    period_params,
    requested_params,
    target_name,
)
from sqp_refresh.postgres.session import Session, identifier

_NUMBERS = {
    Summed.TEXT: sql.SQL("('x' || substr(md5({}), 1, 8))::bit(32)::bigint"),
    Summed.DATE: sql.SQL("({} - date '1970-01-01')"),
    Summed.WHOLE: sql.SQL("{}"),
    Summed.DECIMAL: sql.SQL("{}"),
    Summed.FLAG: sql.SQL("{}::integer"),
    Summed.INSTANT: sql.SQL("(extract(epoch FROM {}) * 1000000)::bigint"),
}
# Texts that many rows share are hashed once for each combination of them, not for each row.
_SHARED_TEXTS = ("marketplace", "asin", "parent_asin")
_QUERY = sql.SQL("""
SELECT __sqp_requested.first, __sqp_requested.last, sums.*
FROM {requested} CROSS JOIN LATERAL (
    SELECT coalesce(sum(rows), 0)::numeric, {known_and_total} FROM (
        SELECT count(*) AS rows, {of_groups} FROM {table} WHERE {in_period} GROUP BY {shared}
    ) AS of_groups
) AS sums
""")
_WRONG_RATIOS = sql.SQL(
    "count(*) FILTER (WHERE {ratio} IS DISTINCT FROM"
    " round(100.0 * {dividend} / nullif({divisor}, 0), {scale}))"
)
_COUNT_RATIOS = sql.SQL("""
SELECT __sqp_requested.first, __sqp_requested.last, wrong.*
FROM {requested} CROSS JOIN LATERAL (
    SELECT {wrong} FROM {table} WHERE {in_period}
) AS wrong
""")


def certified_columns(table: Table) -> list[Column]:
    """List the columns of a table that its certificates are about."""
    if table.origin is Origin.SOURCE_ROWS:
        return list(table.columns)
    if table.is_grouped:
        return [c for c in table.values if c.name in {*table.sums, *table.counts}]
    copied = SEARCH_QUERY_PERFORMANCE.names - table.ratios.keys()
    numbers = (Summed.WHOLE, Summed.DECIMAL)
    return [c for c in table.values if c.name in copied and summed_as(c.type) in numbers]


def measure_columns(
    session: Session, table: Table, periods: Iterable[Period]
) -> dict[Period, ColumnSums]:
    """Add up the certified columns of each period, as the table has them."""
    columns = certified_columns(table)
    return _measure(
        session,
        table,
        periods,
        {column.name: column for column in columns},
        counts_nulls=not table.is_grouped,
    )


def columns_of_children(
    session: Session, table: Table, periods: Iterable[Period]
) -> dict[Period, ColumnSums]:
    """Add up what a derived table must hold of each column, in the rows that it is made from."""
    rows = SEARCH_QUERY_PERFORMANCE
    by_name = {column.name: column for column in rows.columns}
    sources: dict[str, Column | None] = {}
    for column in certified_columns(table):
        name = table.sums.get(column.name, column.name)
        if name in by_name:
            sources[column.name] = by_name[name]
        elif table.counts.get(column.name) == rows.scope and _has_each_row(table):
            sources[column.name] = None
    return _measure(session, rows, periods, sources, counts_nulls=not table.is_grouped)


def _has_each_row(table: Table) -> bool:
    """Return whether the weeks in a row are as many as the rows that it sums up."""
    return set(table.group_key) == set(SEARCH_QUERY_PERFORMANCE.group_key)


def wrong_ratios(
    session: Session, table: Table, periods: Iterable[Period]
) -> dict[Period, dict[str, int]]:
    """Count in each period the rows whose ratio is not what its two counts make it."""
    scales = {column.name: scale_of(column.type) for column in table.columns}
    if not table.ratios:
        return {}
    query = _COUNT_RATIOS.format(
        requested=REQUESTED,
        wrong=sql.SQL(", ").join(
            _WRONG_RATIOS.format(
                ratio=identifier(name),
                dividend=identifier(dividend),
                divisor=identifier(divisor),
                scale=sql.Literal(scales[name]),
            )
            for name, (dividend, divisor) in table.ratios.items()
        ),
        table=target_name(table),
        in_period=between_days(table, *REQUESTED_DAYS),
    )
    return {
        Period(first, last): dict(zip(table.ratios, counts, strict=True))
        for first, last, *counts in session.fetch_all(query, requested_params(periods))
    }


def _measure(
    session: Session,
    table: Table,
    periods: Iterable[Period],
    columns: Mapping[str, Column | None],
    *,
    counts_nulls: bool,
) -> dict[Period, ColumnSums]:
    """Add up columns of a table.

    Args:
        session: A session with the target.
        table: The table.
        periods: The periods; those without rows have sums of 0.
        columns: What is added up, by the name that it is given; None counts rows.
        counts_nulls: Whether nulls are counted, too.
    """
    every = list(periods)
    if not every or not columns:
        return {}
    # Of one period alone, Postgres plans better if its days are constants.
    days = (PERIOD_START, PERIOD_END) if len(every) == 1 else REQUESTED_DAYS
    query = _sums_query(table, columns, days, counts_nulls=counts_nulls)
    params = requested_params(every) | period_params(every[0])
    return {
        Period(first, last): {
            name: _column_sum(column, rows, known, total, counts_nulls=counts_nulls)
            for (name, column), known, total in zip(
                columns.items(), numbers[::2], numbers[1::2], strict=True
            )
        }
        for first, last, rows, *numbers in session.fetch_all(query, params)
    }


def _column_sum(
    column: Column | None,
    rows: Decimal,
    known: Decimal | None,
    total: Decimal | None,
    *,
    counts_nulls: bool,
) -> ColumnSum:
    has_sum = column is None or summed_as(column.type) is not Summed.NOTHING
    nulls = int(rows - (known or 0)) if counts_nulls else None
    return ColumnSum(nulls, (total or Decimal(0)) if has_sum else None)


def _sums_query(
    table: Table,
    columns: Mapping[str, Column | None],
    days: tuple[sql.Composable, sql.Composable],
    *,
    counts_nulls: bool,
) -> sql.Composed:
    """Compose the query for the rows of each period and, of each column, known values and a sum."""
    shared = tuple(name for name in _SHARED_TEXTS if name in _names(columns.values()))
    of_groups, of_all = _aggregates(tuple(columns.values()), shared, counts_nulls=counts_nulls)
    return _QUERY.format(
        requested=REQUESTED,
        known_and_total=of_all,
        of_groups=of_groups,
        table=target_name(table),
        in_period=between_days(table, *days),
        shared=sql.SQL(", ").join(map(identifier, shared)) if shared else sql.SQL("()"),
    )


# To compose a hundred aggregates takes longer than to measure a small period.
@cache
def _aggregates(
    columns: tuple[Column | None, ...], shared: tuple[str, ...], *, counts_nulls: bool
) -> tuple[sql.Composable, sql.Composable]:
    """Return what is computed of each group of rows, and what of all groups."""
    of_groups: list[sql.Composable] = [identifier(name) for name in shared]
    of_all: list[sql.Composable] = []
    for number, column in enumerate(columns):
        known, total = (sql.Identifier(f"{what}{number}") for what in ("known", "total"))
        if column is None:
            of_all += [sql.SQL("NULL"), sql.SQL("sum(rows)")]
            continue
        name, value = identifier(column.name), _number(column)
        if column.name in shared:
            is_known = sql.SQL("sum(rows) FILTER (WHERE {} IS NOT NULL)").format(name)
            of_all += [is_known, sql.SQL("sum({} * rows)").format(value)]
            continue
        of_groups.append(sql.SQL("sum({}) AS {}").format(value, total))
        if counts_nulls:
            of_groups.append(sql.SQL("count({}) AS {}").format(name, known))
        sum_of_known = sql.SQL("sum({})").format(known) if counts_nulls else sql.SQL("NULL")
        of_all += [sum_of_known, sql.SQL("sum({})").format(total)]
    numbers = [sql.SQL("{}::numeric").format(number) for number in of_all]
    return _as_text(of_groups), _as_text(numbers)


def _as_text(items: Iterable[sql.Composable]) -> sql.Composable:
    return sql.SQL(sql.SQL(", ").join(items).as_string(None))  # type: ignore[arg-type]


def _names(columns: Iterable[Column | None]) -> set[str]:
    return {column.name for column in columns if column}


def _number(column: Column) -> sql.Composable:
    kind = summed_as(column.type)
    # Of what is not added up, at least the nulls are counted.
    if kind is Summed.NOTHING:
        return sql.SQL("NULL::numeric")
    return _NUMBERS[kind].format(identifier(column.name))
