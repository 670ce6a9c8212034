"""Tell which columns each column of a table is made from, as `tables.py` says."""

from collections.abc import Mapping, Sequence

from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    CHILD_ASIN_TITLE,
    PARENT_ASIN_TITLE,
    SEARCH_QUERY_PERFORMANCE,
    SourceSpec,
    Table,
)

Origins = Mapping[str, Sequence[tuple[str | None, str]]]
"""By column: the table that it comes from, None for the one in BigQuery, and the column there."""

_PARENTS = (SEARCH_QUERY_PERFORMANCE, ASIN_PERFORMANCE_DATA)


def origins(table: Table) -> Origins:
    """Return the columns that each column of a table is made from, one step up."""
    columns = {column.name: _origins_of(table, column.name) for column in table.columns}
    return {name: list(dict.fromkeys(made_from)) for name, made_from in columns.items()}


def _origins_of(table: Table, column: str) -> list[tuple[str | None, str]]:
    if column in table.ratios:
        dividend, divisor = table.ratios[column]
        return _origins_of(table, dividend) + _origins_of(table, divisor)
    name = (table.medians | table.sums | table.counts).get(column, column)
    return _in_source(table.source, name) if table.source else _in_parents(table, name)


def _in_source(spec: SourceSpec, name: str) -> list[tuple[str | None, str]]:
    titles = {column.name: column.title for column in spec.columns}
    if titles.get(name) == CHILD_ASIN_TITLE:
        return [(None, CHILD_ASIN_TITLE), (None, PARENT_ASIN_TITLE)]
    # Whatever else there is tells when a row's period begins or ends.
    title = titles.get(name, spec.week_title)
    return [(None, title)] if title else []


def _in_parents(table: Table, name: str) -> list[tuple[str | None, str]]:
    for parent in _PARENTS:
        if parent.name in table.parents and name in parent.names:
            return [(parent.name, name)]
    return [(SEARCH_QUERY_PERFORMANCE.name, "start_date")]
