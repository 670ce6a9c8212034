"""Add up every certified column of periods, as Postgres has it: the other side of a certificate.

Of a table that BigQuery fills row by row, all columns are certified; of one that it aggregates, or
that is derived, what sums up or counts rows below; of a copy in Postgres, the numbers that it
copies. BigQuery's side of the first two is in `extract`; that of derived tables is added up here,
over the rows that they are made from.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
    # Of a longer text of bits, the cast takes the first.
    Summed.TEXT: sql.SQL("('x' || md5({}))::bit(32)::bigint"),
    Summed.DATE: sql.SQL("({} - date '1970-01-01')"),
    Summed.WHOLE: sql.SQL("{}"),
    Summed.DECIMAL: sql.SQL("{}"),
    Summed.FLAG: sql.SQL("{}::integer"),
    Summed.INSTANT: sql.SQL("(extract(epoch FROM {}) * 1000000)::bigint"),
}
# Texts that many rows share are hashed once for each combination of them, not for each row. That is
# a scan of its own, because a group has to be looked up for each row: the sums are not kept by it.
_SHARED_TEXTS = ("marketplace", "asin", "parent_asin")
_OF_ROWS = sql.SQL("LATERAL (SELECT {sums} FROM {table} WHERE {in_period}) AS of_rows")
_OF_TEXTS = sql.SQL("""
CROSS JOIN LATERAL (
    SELECT {sums} FROM (
        SELECT count(*) AS rows, {names} FROM {table} WHERE {in_period} GROUP BY {names}
    ) AS of_groups
) AS of_texts
""")
_QUERY = sql.SQL("""
SELECT __sqp_requested.first, __sqp_requested.last, {names}
FROM {requested} CROSS JOIN {sums}
""")
_SHARED = sql.SQL(
    "sum(rows) FILTER (WHERE {name} IS NOT NULL) AS {known}, sum({value} * rows) AS {total}"
)
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


@dataclass(frozen=True, slots=True)
class TargetSums:
    """How columns are added up.

    Attributes:
        columns: What is added up, by the name that it is given; None counts rows.
        counts_nulls: Whether nulls are counted, too.
        of_rows: Aggregates over all rows.
        of_texts: Aggregates over the combinations of texts that rows share.
        names: The numbers that both make: how many rows there are, and two of each column.
    """

    columns: Mapping[str, Column | None]
    counts_nulls: bool
    of_rows: sql.Composable
    of_texts: Mapping[str, sql.Composable]
    names: sql.Composable

    def measured(
        self,
        table: Table,
        in_period: sql.Composable,
        *,
        of_rows: Iterable[sql.Composable] = (),
        of_texts: Mapping[str, sql.Composable] | None = None,
    ) -> sql.Composed:
        """Compose what a query for the numbers selects from.

        Args:
            table: The table.
            in_period: The condition that a row is of the period.
            of_rows: Other aggregates over all rows.
            of_texts: Other aggregates over texts that rows share, by the name of the text.
        """
        of = {"table": target_name(table), "in_period": in_period}
        scans = [_OF_ROWS.format(sums=_listed([*of_rows, self.of_rows]), **of)]
        others = of_texts or {}
        sums = [*self.of_texts.values(), *others.values()]
        if sums:
            names = _listed(map(identifier, dict.fromkeys((*self.of_texts, *others))))
            scans.append(_OF_TEXTS.format(sums=_listed(sums), names=names, **of))
        return sql.SQL("").join(scans)

    def read(self, numbers: Sequence[Decimal | None]) -> dict[str, ColumnSum]:
        """Read the numbers."""
        rows, *of_columns = numbers
        pairs = zip(of_columns[::2], of_columns[1::2], strict=True)
        return {
            name: self._column_sum(column, rows or Decimal(0), known, total)
            for (name, column), (known, total) in zip(self.columns.items(), pairs, strict=True)
        }

    def _column_sum(
        self, column: Column | None, rows: Decimal, known: Decimal | None, total: Decimal | None
    ) -> ColumnSum:
        if column is None:
            return ColumnSum(None, rows)
        has_sum = summed_as(column.type) is not Summed.NOTHING
        nulls = int(rows - (known or 0)) if self.counts_nulls else None
        return ColumnSum(nulls, (total or Decimal(0)) if has_sum else None)


def target_sums(table: Table) -> TargetSums:
    """Return how the certified columns of a table are added up."""
    columns = {column.name: column for column in certified_columns(table)}
    return _target_sums(columns, counts_nulls=not table.is_grouped)


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
    return _measure(session, table, periods, target_sums(table))


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
    return _measure(
        session, rows, periods, _target_sums(sources, counts_nulls=not table.is_grouped)
    )


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
    session: Session, table: Table, periods: Iterable[Period], sums: TargetSums
) -> dict[Period, ColumnSums]:
    """Add up columns of a table; periods without rows have sums of 0."""
    every = list(periods)
    if not every or not sums.columns:
        return {}
    # Of one period alone, Postgres plans better if its days are constants.
    days = (PERIOD_START, PERIOD_END) if len(every) == 1 else REQUESTED_DAYS
    query = _QUERY.format(
        names=sums.names,
        requested=REQUESTED,
        sums=sums.measured(table, between_days(table, *days)),
    )
    params = requested_params(every) | period_params(every[0])
    return {
        Period(first, last): sums.read(numbers)
        for first, last, *numbers in session.fetch_all(query, params)
    }


def _target_sums(columns: Mapping[str, Column | None], *, counts_nulls: bool) -> TargetSums:
    of = _aggregates(tuple(columns.values()), counts_nulls=counts_nulls)
    return TargetSums(columns, counts_nulls, *of)


# To compose a hundred aggregates takes longer than to measure a small period.
@cache
def _aggregates(
    columns: tuple[Column | None, ...], *, counts_nulls: bool
) -> tuple[sql.Composable, Mapping[str, sql.Composable], sql.Composable]:
    """Return what is computed of rows and of texts that they share, and the names of all of it."""
    of_rows: list[sql.Composable] = [sql.SQL("count(*)::numeric AS rows")]
    of_texts: dict[str, sql.Composable] = {}
    names = [sql.SQL("rows")]
    for number, column in enumerate(columns):
        known, total = (sql.Identifier(f"{what}{number}") for what in ("known", "total"))
        if column is None:
            names += [sql.NULL, sql.NULL]
            continue
        name, value = identifier(column.name), _number(column)
        names += [known if counts_nulls else sql.NULL, total]
        if column.name in _SHARED_TEXTS:
            of_texts[column.name] = _SHARED.format(name=name, value=value, known=known, total=total)
            continue
        of_rows.append(sql.SQL("sum({})::numeric AS {}").format(value, total))
        if counts_nulls:
            of_rows.append(sql.SQL("count({})::numeric AS {}").format(name, known))
    return _as_text(of_rows), of_texts, _as_text(names)


def _as_text(items: Iterable[sql.Composable]) -> sql.Composable:
    return sql.SQL(_listed(items).as_string(None))  # type: ignore[arg-type]


def _listed(items: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(items)


def _number(column: Column) -> sql.Composable:
    kind = summed_as(column.type)
    # Of what is not added up, at least the nulls are counted.
    if kind is Summed.NOTHING:
        return sql.SQL("NULL::numeric")
    return _NUMBERS[kind].format(identifier(column.name))
