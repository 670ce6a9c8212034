"""The SELECTs behind the derived tables; ratios are left to publishing, which takes them from sums.

A period that has only gained weeks is not summed up again: of each ASIN and query that these weeks
have, the sums as they were published are added to theirs.

Score and median prices are never summed or averaged: they stay in the tables that have one row a
query and week.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import partial

from psycopg import sql

from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import SqlRows
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    SCHEMA,
    SEARCH_PERFORMANCE_SUMMARY,
    SEARCH_QUERY_PERFORMANCE,
    SUMMED_COUNTS,
    Table,
)
from sqp_refresh.postgres.period_sql import in_period

_QUERIES = sql.Identifier(SCHEMA, SEARCH_QUERY_PERFORMANCE.name)
_ASINS = sql.Identifier(SCHEMA, ASIN_PERFORMANCE_DATA.name)

# A row is one week of an ASIN on a query, so a group has as many weeks as rows; to count distinct
# days, Postgres would have to sort all rows of a year.
_SUM_OVER_WEEKS = sql.SQL("""
    SELECT marketplace, asin, search_query, {sums},
        sum(search_query_volume) AS search_query_volume,
        count(*) AS weeks_count
    FROM {queries}
    WHERE {weeks}
    GROUP BY marketplace, asin, search_query
""")

_WITH_GAINED = sql.SQL("""
    WITH gained AS MATERIALIZED ({gained})
    SELECT marketplace, asin, search_query, {sums}
    FROM (
        SELECT marketplace, asin, search_query, {summed} FROM gained
        UNION ALL
        SELECT marketplace, asin, search_query, {summed} FROM {target}
        WHERE {within} AND (marketplace, asin, search_query) IN (
            SELECT marketplace, asin, search_query FROM gained
        )
    ) AS both_times
    GROUP BY marketplace, asin, search_query
""")

_WITH_TITLES = sql.SQL("""
    SELECT marketplace, asin, search_query, asins.product_title, asins.brand, {measures}
    FROM {queries} AS queries
    LEFT JOIN {asins} AS asins USING (start_date, end_date, marketplace, asin)
    WHERE start_date BETWEEN {first} AND {last}
""")

_FROM_ASINS = ("product_title", "brand")
_SUMMED = (*SUMMED_COUNTS, "search_query_volume", "weeks_count")
_COLUMNS = ("marketplace", "asin", "search_query", *_SUMMED)


def rollup_query(table: Table, period: Period) -> SqlRows:
    """The rows of a derived table in one period, computed from the weeks that belong to it."""
    if table.name == SEARCH_PERFORMANCE_SUMMARY.name:
        return _with_titles(period)
    days = sql.SQL("start_date BETWEEN {} AND {}").format(
        sql.Literal(period.start), sql.Literal(period.end)
    )
    return SqlRows(_sum_over_weeks(days), _COLUMNS, of_added_weeks=partial(_sum_with_gained, table))


def _sum_over_weeks(weeks: sql.Composable) -> sql.Composed:
    return _SUM_OVER_WEEKS.format(sums=_sums(SUMMED_COUNTS), queries=_QUERIES, weeks=weeks)


def _sum_with_gained(table: Table, sundays: Iterable[date]) -> SqlRows:
    these = sql.SQL("start_date IN ({})").format(sql.SQL(", ").join(map(sql.Literal, sundays)))
    select = _WITH_GAINED.format(
        gained=_sum_over_weeks(these),
        sums=_sums({name: name for name in _SUMMED}),
        summed=sql.SQL(", ").join(map(sql.Identifier, _SUMMED)),
        target=sql.Identifier(SCHEMA, table.name),
        within=in_period(table),
    )
    return SqlRows(select, _COLUMNS)


def _sums(counts: Mapping[str, str]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("sum({}) AS {}").format(sql.Identifier(count), sql.Identifier(name))
        for name, count in counts.items()
    )


def _with_titles(period: Period) -> SqlRows:
    table = SEARCH_PERFORMANCE_SUMMARY
    measures = tuple(
        column.name
        for column in table.values
        if column.name not in _FROM_ASINS and column.name not in table.ratios
    )
    select = _WITH_TITLES.format(
        measures=sql.SQL(", ").join(sql.Identifier("queries", name) for name in measures),
        queries=_QUERIES,
        asins=_ASINS,
        first=sql.Literal(period.start),
        last=sql.Literal(period.end),
    )
    return SqlRows(select, ("marketplace", "asin", "search_query", *_FROM_ASINS, *measures))
