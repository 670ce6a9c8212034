"""Measure what a table holds of each period, and what it must hold to equal its source.

Everything is measured in Postgres, row by row, whatever any other step believes. What a table that
BigQuery fills must hold, BigQuery counted as of the instant of the run, and the ledger
keeps; what a derived table must hold follows from the rows of `search_query_performance`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from typing import Any

from psycopg import sql

from sqp_refresh.model.contract import SHARE_TOLERANCE
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import (
    OWN_COUNTS,
    SEARCH_QUERY_PERFORMANCE,
    SHARES,
    STAGES,
    SUMMED_COUNTS,
    Table,
)
from sqp_refresh.model.types import LogicalType, logical_type
from sqp_refresh.postgres.period_sql import (
    REQUESTED,
    REQUESTED_DAYS,
    between_days,
    requested_params,
    target_name,
)
from sqp_refresh.postgres.session import Session, identifier

ROW_COUNT = "row_count"
DISTINCT_ASIN_COUNT = "distinct_asin_count"
SUMS = {f"sum_{count}": count for count in OWN_COUNTS}
"""The sums that are compared with the source, and the count that each adds up."""

_RATIOS = ("null_ratio", "rate_agreement")

Measured = dict[Period, dict[str, Any]]
"""The value of each metric, by its name, in each period."""

# Shares and rates are rounded decimals: as floating point, the tolerance would not be exact.
_PARAMS = {"tolerance": Decimal(str(SHARE_TOLERANCE))}

_MEASURE = sql.SQL("""
SELECT __sqp_requested.first, __sqp_requested.last, metrics.*
FROM {requested}
CROSS JOIN LATERAL (SELECT {metrics} FROM {table} WHERE {in_period}) AS metrics
""")
# DISTINCT within an aggregate would sort all rows, and take up to ten times as long.
_COUNT_DISTINCT = sql.SQL("""
SELECT count(*) FROM (SELECT DISTINCT {columns} FROM {table} WHERE {in_period}) AS distinct_rows
""")
# What is compared with a quotient is multiplied instead, which is exact, and less work. The middle
# between own / total and 100 * own / total is 50.5 * own / total.
_VOTE = sql.SQL("""
coalesce(
    sum(sign(50.5 * {own} - {share} * {total})) FILTER (WHERE {own} > 0 AND {total} > 0), 0
)
""")
_KNOWN_RATES = sql.SQL("""
count(*) FILTER (
    WHERE {rate} IS NOT NULL AND {total} IS NOT NULL AND search_query_volume > 0
)
""")
_AGREEING_RATES = sql.SQL("""
count(*) FILTER (
    WHERE abs({rate} * search_query_volume - 100.0 * {total})
        <= %(tolerance)s::numeric * search_query_volume
        AND search_query_volume > 0
)
""")


def measure(session: Session, table: Table, periods: Iterable[Period]) -> Measured:
    """Measure everything of each period, as the table has it."""
    return _query(session, table, periods, dict(_metrics(table)))


def expected_of_derived(session: Session, table: Table, periods: Iterable[Period]) -> Measured:
    """Measure what a derived table must have of each period in the rows that it is made of."""
    rows = SEARCH_QUERY_PERFORMANCE
    compared = {*own_sums(table), *({DISTINCT_ASIN_COUNT} & metric_names(table))}
    expected = {name: metric for name, metric in _metrics(rows) if name in compared}
    expected[ROW_COUNT] = _count_distinct(rows, table.group_key)
    for name in _week_sums(table):
        # Each row of the source is a week of one row, if no column of its key is left out.
        is_each_row = set(table.group_key) == set(rows.group_key)
        weeks = _count_distinct(rows, (*table.group_key, *filter(None, [rows.scope])))
        expected[name] = sql.SQL("count(*)") if is_each_row else weeks
    return _query(session, rows, periods, expected)


def metric_names(table: Table) -> set[str]:
    """Name the metrics that a table's columns allow."""
    return {name for name, _ in _metrics(table)}


def own_sums(table: Table) -> dict[str, sql.Composed]:
    """Return the sums that are compared with the source, as aggregates; none without columns."""
    own = own_columns(table)
    return {
        name: sql.SQL("sum({})").format(identifier(own[count]))
        for name, count in SUMS.items()
        if count in own
    }


def reconciled_sums(table: Table) -> dict[str, sql.Composed]:
    """Return those, and the weeks of all rows where each has several: no week is summed twice."""
    return {**own_sums(table), **_week_sums(table)}


def _query(
    session: Session, table: Table, periods: Iterable[Period], metrics: Mapping[str, sql.Composable]
) -> Measured:
    """Compute metrics over a table's rows of each period, all in one query."""
    params = _PARAMS | requested_params(periods)
    if not params["first_days"]:
        return {}
    query = _MEASURE.format(
        requested=REQUESTED,
        metrics=sql.SQL(", ").join(
            sql.SQL("({})::{} AS {}").format(
                metric,
                # The sum of a few great counts is beyond bigint.
                sql.SQL("float8") if name in _RATIOS else sql.SQL("numeric"),
                identifier(name),
            )
            for name, metric in metrics.items()
        ),
        table=target_name(table),
        in_period=between_days(table, *REQUESTED_DAYS),
    )
    return {
        Period(first, last): dict(zip(metrics, map(_whole, values), strict=True))
        for first, last, *values in session.fetch_all(query, params)
    }


def _whole(value: Decimal | float | None) -> int | float | None:
    return int(value) if isinstance(value, Decimal) else value


def _count_distinct(table: Table, columns: Sequence[str]) -> sql.Composed:
    return _COUNT_DISTINCT.format(
        columns=sql.SQL(", ").join(map(identifier, columns)),
        table=target_name(table),
        in_period=between_days(table, *REQUESTED_DAYS),
    )


def _metrics(table: Table) -> Iterator[tuple[str, sql.Composable]]:
    """Return every metric that the columns of a table allow, as an aggregate."""
    yield ROW_COUNT, sql.SQL("count(*)")
    own = [identifier(column) for column in own_columns(table).values()]
    if not own:
        return
    if "asin" in table.names:
        yield DISTINCT_ASIN_COUNT, _count_distinct(table, ["asin"])
    for name, total in own_sums(table).items():
        yield name, sql.SQL("coalesce({}, 0)").format(total)
    key_measures = [*own, *map(identifier, _numbers(table) & {"search_query_volume"})]
    yield (
        "null_ratio",
        sql.SQL("sum(num_nulls({}))::numeric / nullif(count(*) * {}, 0)").format(
            sql.SQL(", ").join(key_measures), sql.Literal(len(key_measures))
        ),
    )
    total = sql.SQL(" + ").join(sql.SQL("coalesce(sum({}), 0)").format(column) for column in own)
    yield "all_zero_measures", sql.SQL("(count(*) > 0 AND {} = 0)::integer").format(total)
    if steps := list(_funnel_steps(table)):
        widens = sql.SQL(" OR ").join(
            sql.SQL("{} > {}").format(identifier(lower), identifier(upper))
            for upper, lower in steps
        )
        yield "funnel_violations", sql.SQL("count(*) FILTER (WHERE {})").format(widens)
    if stages := _stages_with_rates(table):
        yield "rate_agreement", _rate_agreement(stages)
    if _numbers(table) >= {*SHARES, *(column for counts in SHARES.values() for column in counts)}:
        yield "fraction_scale_detected", _fractions()


def _columns_of(table: Table, counts: Iterable[str]) -> dict[str, str]:
    """Return the column that holds each count of the source, or its sum, where there is one."""
    # A registered table says nothing of how it was made, so only its columns' names can tell.
    sums = {count: name for name, count in (table.sums or SUMMED_COUNTS).items()}
    columns = {count: count if count in table.names else sums.get(count) for count in counts}
    numbers = _numbers(table)
    return {count: name for count, name in columns.items() if name in numbers}


def _numbers(table: Table) -> set[str]:
    """Return the columns that can be added up: a registered table may have a text of that name."""
    return {
        column.name
        for column in table.columns
        if logical_type(column.type) in (LogicalType.WHOLE, LogicalType.NUMBER)
    }


def own_columns(table: Table) -> dict[str, str]:
    """Return the column of each of an ASIN's own counts; none of a registered table without all."""
    columns = _columns_of(table, OWN_COUNTS)
    is_registered = table.source is not None and not table.source.is_vendor_report
    return {} if is_registered and len(columns) < len(OWN_COUNTS) else columns


def _week_sums(table: Table) -> dict[str, sql.Composed]:
    """Return the sum of each column that counts the weeks in a row of a derived table."""
    return {
        f"sum_{name}": sql.SQL("sum({})").format(identifier(name))
        for name, counted in table.counts.items()
        if table.source is None and counted == SEARCH_QUERY_PERFORMANCE.scope
    }


def _funnel_steps(table: Table) -> Iterator[tuple[str, str]]:
    """Return the columns of each two neighbouring stages of the funnel, own and market."""
    for side, first in (("asin", "impression"), ("total", "query_impression")):
        counts = [f"{side}_{stage}_count" for stage in (first, *STAGES.values())]
        columns = _columns_of(table, counts)
        for upper, lower in pairwise(counts):
            if upper in columns and lower in columns:
                yield columns[upper], columns[lower]


def _stages_with_rates(table: Table) -> list[str]:
    """List the stages whose rate is 100 * total / search volume, as Amazon defines it."""
    # A summary's rates of the same names are of the funnel, and not of the search volume.
    names = _numbers(table) - table.ratios.keys()
    return [
        stage
        for stage in STAGES.values()
        if names >= {f"total_{stage}_rate", f"total_{stage}_count", "search_query_volume"}
    ]


def _rate_agreement(stages: Iterable[str]) -> sql.Composable:
    """Compute the part of the rates that are what they should be."""
    columns = [
        {
            "rate": identifier(f"total_{stage}_rate"),
            "total": identifier(f"total_{stage}_count"),
        }
        for stage in stages
    ]
    plus = sql.SQL(" + ")
    return sql.SQL("({})::numeric / nullif({}, 0)").format(
        plus.join(_AGREEING_RATES.format(**of_stage) for of_stage in columns),
        plus.join(_KNOWN_RATES.format(**of_stage) for of_stage in columns),
    )


def _fractions() -> sql.Composable:
    """Return 1 where more shares look like fractions than like percentages, by their counts."""
    votes = [
        _VOTE.format(share=identifier(share), own=identifier(own), total=identifier(total))
        for share, (own, total) in SHARES.items()
    ]
    return sql.SQL("({} > 0)::integer").format(sql.SQL(" + ").join(votes))
