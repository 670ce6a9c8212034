"""What a table holds of each period, in numbers, and what it must hold to equal its source.

Measured in Postgres, row by row, whatever any other step believes. What a table that BigQuery fills
must hold, BigQuery said at the instant the period was read as of, and the ledger keeps; what a
derived table must hold follows from the rows of `search_query_performance`.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from psycopg import sql

from sqp_refresh.model.contract import SHARE_TOLERANCE
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import (
    OWN_COUNTS,
    SCHEMA,
    SEARCH_QUERY_PERFORMANCE,
    SHARES,
    STAGES,
    SUMMED_COUNTS,
    Table,
)
from sqp_refresh.postgres.period_sql import (
    REQUESTED,
    REQUESTED_DAYS,
    between_days,
    requested_params,
)
from sqp_refresh.postgres.session import Session

ROW_COUNT = "row_count"
DISTINCT_ASIN_COUNT = "distinct_asin_count"
SUMS = {f"sum_{count}": count for count in OWN_COUNTS}
"""The sums that are compared with the source, and the count that each adds up."""
_SUM_OF_WEEKS = "sum_weeks_count"
"""The weeks of all rows: each row of the source is a week of one row, and of no other."""

_RATIOS = ("null_ratio", "rate_agreement")

Measured = dict[Period, dict[str, Any]]

_MEASURE = sql.SQL("""
SELECT requested.first, requested.last, measured.*
FROM {requested}
CROSS JOIN LATERAL (SELECT {measures} FROM {table} WHERE {within}) AS measured
""")
# DISTINCT within an aggregate would sort all rows, and take up to ten times as long.
_DISTINCT = sql.SQL("""
SELECT count(*) FROM (SELECT DISTINCT {columns} FROM {table} WHERE {within}) AS distinct_ones
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
    WHERE abs({rate} * search_query_volume - 100.0 * {total}) <= {tolerance} * search_query_volume
        AND search_query_volume > 0
)
""")


def measured(session: Session, table: Table, periods: Iterable[Period]) -> Measured:
    """All numbers of each period, as the table has them."""
    return _asked(session, table, periods, dict(_measures(table)))


def derived(session: Session, table: Table, periods: Iterable[Period]) -> Measured:
    """The numbers that a derived table must have, from the rows that it is made of."""
    queries = SEARCH_QUERY_PERFORMANCE
    compared = {
        name: measure
        for name, measure in _measures(queries)
        if name in SUMS or name == DISTINCT_ASIN_COUNT
    }
    # One row of a period is one ASIN on one query, however many weeks it was seen in.
    rows = _distinct(queries, "marketplace", "asin", "search_query")
    weeks = {_SUM_OF_WEEKS: sql.SQL("count(*)")} if _counts_weeks(table) else {}
    return _asked(session, queries, periods, compared | weeks | {ROW_COUNT: rows})


def names_of(table: Table) -> set[str]:
    """The measures that a table's columns allow."""
    return {name for name, _ in _measures(table)}


def own_sums(table: Table) -> dict[str, sql.Composed]:
    """The sums that are compared with the source, as aggregates; none without their columns."""
    own = _own({column.name for column in table.columns})
    return {
        name: sql.SQL("sum({})").format(own[count]) for name, count in SUMS.items() if count in own
    }


def reconciled_sums(table: Table) -> dict[str, sql.Composable]:
    """Those, and the weeks of all rows where each has several: no week is in a sum twice."""
    weeks = {_SUM_OF_WEEKS: sql.SQL("sum(weeks_count)")} if _counts_weeks(table) else {}
    return {**own_sums(table), **weeks}


def _asked(
    session: Session,
    table: Table,
    periods: Iterable[Period],
    measures: Mapping[str, sql.Composable],
) -> Measured:
    params = requested_params(periods)
    if not params["first_days"]:
        return {}
    listed = sql.SQL(", ").join(
        sql.SQL("({})::float8 AS {}").format(measure, sql.Identifier(name))
        if name in _RATIOS
        else sql.SQL("({})::bigint AS {}").format(measure, sql.Identifier(name))
        for name, measure in measures.items()
    )
    found = session.fetch_all(
        _MEASURE.format(
            requested=REQUESTED,
            measures=listed,
            table=sql.Identifier(SCHEMA, table.name),
            within=between_days(table, *REQUESTED_DAYS),
        ),
        params,
    )
    return {
        Period(first, last): dict(zip(measures, values, strict=True))
        for first, last, *values in found
    }


def _distinct(table: Table, *columns: str) -> sql.Composed:
    return _DISTINCT.format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        table=sql.Identifier(SCHEMA, table.name),
        within=between_days(table, *REQUESTED_DAYS),
    )


def _measures(table: Table) -> Iterator[tuple[str, sql.Composable]]:
    """Every measure that the columns of a table allow, as an aggregate."""
    names = {column.name for column in table.columns}
    yield ROW_COUNT, sql.SQL("count(*)")
    own = _own(names)
    if not own:
        return
    yield DISTINCT_ASIN_COUNT, _distinct(table, "asin")
    for name, total in own_sums(table).items():
        yield name, sql.SQL("coalesce({}, 0)").format(total)
    key_measures = [*own.values(), *map(sql.Identifier, names & {"search_query_volume"})]
    yield (
        "null_ratio",
        sql.SQL("sum(num_nulls({}))::numeric / nullif(count(*) * {}, 0)").format(
            sql.SQL(", ").join(key_measures), sql.Literal(len(key_measures))
        ),
    )
    total = sql.SQL(" + ").join(sql.SQL("coalesce(sum({}), 0)").format(one) for one in own.values())
    yield "all_zero_measures", sql.SQL("(count(*) > 0 AND {} = 0)::integer").format(total)
    yield "funnel_violations", sql.SQL("count(*) FILTER (WHERE {})").format(_widening(names))
    # A summary's rates of the same names are of the funnel, and not of the search volume.
    if "total_click_rate" in names - table.ratios.keys():
        yield "rate_agreement", _rate_agreement()
    if names >= SHARES.keys():
        yield "fraction_scale_detected", _fractions()


def _counts_weeks(table: Table) -> bool:
    """Whether it is derived from weeks; a registered table may have a column of that name too."""
    return table.source is None and any(column.name == "weeks_count" for column in table.values)


def _own(names: set[str]) -> dict[str, sql.Identifier]:
    """The column that holds each of an ASIN's own counts, or their sum."""
    summed = {count: name for name, count in SUMMED_COUNTS.items()}
    columns = {count: count if count in names else summed[count] for count in OWN_COUNTS}
    if not names >= set(columns.values()):
        return {}
    return {count: sql.Identifier(name) for count, name in columns.items()}


def _widening(names: set[str]) -> sql.Composed:
    """Whether a row's funnel gets wider on its way down, own or market."""
    summed = {count: name for name, count in SUMMED_COUNTS.items()}
    steps: list[sql.Composable] = []
    for side, first in (("asin", "impression"), ("total", "query_impression")):
        stages = (first, *STAGES.values())
        counts = [f"{side}_{stage}_count" for stage in stages]
        columns = [count if count in names else summed[count] for count in counts]
        steps += [
            sql.SQL("{} > {}").format(sql.Identifier(lower), sql.Identifier(upper))
            for upper, lower in pairwise(columns)
        ]
    return sql.SQL(" OR ").join(steps)


def _rate_agreement() -> sql.Composable:
    """The part of the rates that are 100 * total / search volume, as Amazon defines them."""
    known, agree = [], []
    for stage in STAGES.values():
        named = {
            "rate": sql.Identifier(f"total_{stage}_rate"),
            "total": sql.Identifier(f"total_{stage}_count"),
            "tolerance": sql.Literal(SHARE_TOLERANCE),
        }
        known.append(_KNOWN_RATES.format(**named))
        agree.append(_AGREEING_RATES.format(**named))
    plus = sql.SQL(" + ")
    return sql.SQL("({})::numeric / nullif({}, 0)").format(plus.join(agree), plus.join(known))


def _fractions() -> sql.Composable:
    """1 where more shares look like fractions than like percentages, told from their counts."""
    votes = [
        _VOTE.format(
            share=sql.Identifier(share), own=sql.Identifier(own), total=sql.Identifier(total)
        )
        for share, (own, total) in SHARES.items()
    ]
    return sql.SQL("({} > 0)::integer").format(sql.SQL(" + ").join(votes))
