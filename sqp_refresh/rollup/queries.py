"""Compose the SELECTs behind the derived tables.

Ratios are left to loading, which takes them from sums. A period to which only weeks were added is
not summed up again: of each key that these weeks have, the sums in the table are added to theirs.

Score and median prices are never summed or averaged: they stay in the tables that have one row a
query and week.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import partial

from psycopg import sql

from sqp_refresh.model.rows import SqlRows
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    SEARCH_QUERY_PERFORMANCE,
    Table,
)
from sqp_refresh.postgres.period_sql import PERIOD_END, PERIOD_START, in_period, target_name
from sqp_refresh.postgres.session import identifier

_ROWS = SEARCH_QUERY_PERFORMANCE
_TITLES = ASIN_PERFORMANCE_DATA

_SUM_OVER_WEEKS = sql.SQL("SELECT {key}, {values} FROM {rows} WHERE {weeks} GROUP BY {key}")

# The table's own rows are read only for keys that the added weeks have: all others stay as they
# are. MATERIALIZED, because the sums over the added weeks are needed twice.
_ADD_WEEKS = sql.SQL("""
    WITH added AS MATERIALIZED ({added})
    SELECT {key}, {sums}
    FROM (
        SELECT {key}, {values} FROM added
        UNION ALL
        SELECT {key}, {values} FROM {target}
        WHERE {within} AND ({key}) IN (SELECT {key} FROM added)
    ) AS before_and_added
    GROUP BY {key}
""")

_COPY_ROWS = sql.SQL("""
    SELECT {columns}
    FROM {rows} AS query_rows
    {titles}
    WHERE query_rows.{scope} BETWEEN {first} AND {last}
""")
_JOIN_TITLES = sql.SQL("LEFT JOIN {titles} AS titles USING ({key})")


def rollup_query(table: Table) -> SqlRows:
    """Return the rows of a derived table in any one period, computed from the weeks in it.

        rollup_query(TABLES["monthly_summary"])

    Args:
        table: A table that sums or counts rows of `search_query_performance`, or copies them.
    """
    if not table.is_grouped:
        return _copy_rows(table)
    weeks = sql.SQL("{} BETWEEN {} AND {}").format(_scope(), PERIOD_START, PERIOD_END)
    add_weeks = partial(_add_weeks, table) if _is_additive(table) else None
    return SqlRows(_sum_over_weeks(table, weeks), _columns(table), of_added_weeks=add_weeks)


def _sum_over_weeks(table: Table, weeks: sql.Composable) -> sql.Composed:
    counts = {name: _count(table, counted) for name, counted in table.counts.items()}
    return _SUM_OVER_WEEKS.format(
        key=_identifiers(table.group_key),
        values=_named(_sums(table.sums) | counts),
        rows=target_name(_ROWS),
        weeks=weeks,
    )


def _add_weeks(table: Table, sundays: Iterable[date]) -> SqlRows:
    """Return those rows of a period that weeks which were added to it change.

    Args:
        table: The derived table.
        sundays: The first days of the weeks.
    """
    days = sql.SQL(", ").join(map(sql.Literal, sundays))
    values = [*table.sums, *table.counts]
    select = _ADD_WEEKS.format(
        added=_sum_over_weeks(table, sql.SQL("{} IN ({})").format(_scope(), days)),
        key=_identifiers(table.group_key),
        sums=_named(_sums({name: name for name in values})),
        values=_identifiers(values),
        target=target_name(table),
        within=in_period(table),
    )
    return SqlRows(select, _columns(table))


def _is_additive(table: Table) -> bool:
    """Return whether every value over all weeks is the sum of its values over some and the others.

    Different weeks are so; the different queries of two weeks may be the same ones.
    """
    return all(counted == _ROWS.scope for counted in table.counts.values())


def _count(table: Table, counted: str) -> sql.Composable:
    """Count the different values of a key column.

    A row of `search_query_performance` is one week of an ASIN on a query, so a group by all of
    these has as many weeks as rows; to count distinct days, Postgres would have to sort them all.
    """
    if counted == _ROWS.scope and set(table.group_key) == set(_ROWS.group_key):
        return sql.SQL("count(*)")
    return sql.SQL("count(DISTINCT {})").format(identifier(counted))


def _columns(table: Table) -> tuple[str, ...]:
    return (*table.group_key, *table.sums, *table.counts)


def _copy_rows(table: Table) -> SqlRows:
    """Return a row for each row of `search_query_performance`, with what the ASIN's table adds."""
    values = [
        column.name
        for column in table.values
        if column.name not in table.ratios and column.name in _ROWS.names | _TITLES.names
    ]
    of_rows = (*table.group_key, *(name for name in values if name in _ROWS.names))
    of_titles = [name for name in values if name not in _ROWS.names]
    titles = _JOIN_TITLES.format(
        titles=target_name(_TITLES),
        key=_identifiers(column.name for column in _TITLES.key),
    )
    select = _COPY_ROWS.format(
        columns=sql.SQL(", ").join(
            [identifier("query_rows", name) for name in of_rows]
            + [identifier("titles", name) for name in of_titles]
        ),
        rows=target_name(_ROWS),
        titles=titles if of_titles else sql.SQL(""),
        scope=_scope(),
        first=PERIOD_START,
        last=PERIOD_END,
    )
    return SqlRows(select, (*of_rows, *of_titles))


def _sums(counts: Mapping[str, str]) -> dict[str, sql.Composable]:
    return {name: sql.SQL("sum({})").format(identifier(count)) for name, count in counts.items()}


def _named(expressions: Mapping[str, sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(expression, identifier(name))
        for name, expression in expressions.items()
    )


def _identifiers(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(identifier, names))


def _scope() -> sql.Identifier:
    assert _ROWS.scope, "it has weeks"
    return identifier(_ROWS.scope)
