"""BigQuery SQL for what cannot be read as it stands: aggregates, and views.

Every name is quoted with backticks: in BigQuery, double quotes make a string literal. Values are
bound parameters. The rows of a table come ordered by week, so that one pass can be cut into weeks.
"""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.casts import MARKETPLACE_PARAMETER, keeps_contract, quoted, typed_columns
from sqp_refresh.model.periods import ALL_TIME, Grain, Period
from sqp_refresh.model.tables import SUMMED_COUNTS, TEXT, Table, measures_first, middle_columns

if TYPE_CHECKING:
    from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

    Parameter = ArrayQueryParameter | ScalarQueryParameter

# Names that a query's result carries beside the table's columns, and the parameters it takes.
WEEK = "week_start"
TABLE = "table_name"
WEEKS_PARAMETER = "weeks"
FIRST_PARAMETER = "first"
AFTER_PARAMETER = "after"

_DAY = "day"


def rows_query(source: BigQueryTable) -> str:
    """The source's rows as they are: what Storage Read gives for a table, here for a view."""
    columns = ",\n    ".join(quoted(column.title) for column in source.columns)
    return f"""
SELECT {week_of(source)} AS {WEEK},
    {columns}
FROM {as_of(source)}
WHERE {in_weeks(source)}
ORDER BY {WEEK}"""


def aggregate_query(source: BigQueryTable, tables: Sequence[Table]) -> str:
    """The rows of tables that BigQuery aggregates from a source, which is read once for all.

    A row of each table for each of its keys, summed over the key's queries. Only rows that keep
    their contract are in it. Where rows of one key and period contradict each other, the same one
    counts as in the table that is filled row by row: the latest date, then the greatest values.
    """
    # The day tells rows apart only where the table has one.
    (grouping,) = {_grouping(table) for table in tables}
    key = [TABLE, WEEK, _DAY, *grouping]
    daily = _names(filter(_has_days, tables))
    day = f"IF({TABLE} IN ({daily}), `report_date`, NULL)" if daily else "CAST(NULL AS DATE)"
    aggregates = {name: value for table in tables for name, value in _aggregates(table).items()}
    named = ",\n    ".join(f"{value} AS {quoted(name)}" for name, value in aggregates.items())
    return f"""
WITH source AS (
    {typed_rows(source)}
), good AS (
    SELECT * FROM source
    WHERE {keeps_contract(source)}
), wanted AS (
    SELECT *, {day} AS {_DAY}
    FROM good CROSS JOIN UNNEST([{_names(tables)}]) AS {TABLE}
), ranked AS (
    SELECT *, {place([*key, "search_query"], source)} AS place{_dated_texts(tables, key)}
    FROM wanted
), counted AS (
    SELECT *{_median_places(tables, key)} FROM ranked WHERE place = 1
)
SELECT {TABLE}, {WEEK}, {_DAY} AS `report_date`, {listed(grouping)},
    {named}
FROM counted
GROUP BY {listed(key)}
ORDER BY {TABLE}, {WEEK}"""


def aggregated_columns(table: Table) -> list[str]:
    """The columns of what `aggregate_query` yields that are a table's; it may have others."""
    days = ["report_date"] if _has_days(table) else []
    return [*days, *_grouping(table), *_aggregates(table)]


def count_query(name: str) -> str:
    """How many rows a table has: the least that there is to ask of it."""
    return f"SELECT COUNT(*) FROM {quoted(name)}"


def query_parameters(weeks: Sequence[Period], marketplace: str) -> "list[Parameter]":
    """The values that both queries take: the weeks, their bounds, and the missing marketplace."""
    from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

    after = max(weeks).end + timedelta(days=1)
    return [
        ScalarQueryParameter(FIRST_PARAMETER, "DATE", min(weeks).start),
        ScalarQueryParameter(AFTER_PARAMETER, "DATE", after),
        ArrayQueryParameter(WEEKS_PARAMETER, "DATE", [week.start for week in weeks]),
        ScalarQueryParameter(MARKETPLACE_PARAMETER, "STRING", marketplace),
    ]


def typed_rows(source: BigQueryTable, **others: str) -> str:
    """A SELECT of the weeks' rows with every column under our name, ready to be judged.

    Args:
        source: Where the rows are.
        others: Expressions over the source's own columns, by the name they get.
    """
    named = typed_columns(source) | others
    columns = ",\n        ".join(f"{value} AS {quoted(name)}" for name, value in named.items())
    return f"""SELECT {week_of(source)} AS {WEEK},
        {columns}
    FROM {as_of(source)}
    WHERE {in_weeks(source)}"""


def place(key: Sequence[str], source: BigQueryTable) -> str:
    """The rank of a row among those of one key; the first counts, as it does in Postgres."""
    return f"""ROW_NUMBER() OVER (
        PARTITION BY {listed(key)}
        ORDER BY {_winner_first(source)}
    )"""


def listed(names: Sequence[str]) -> str:
    """Names in backticks, with commas between them."""
    return ", ".join(map(quoted, names))


def as_of(source: BigQueryTable) -> str:
    """The source at the instant it is read as of, so that all queries of a run see the same."""
    if source.instant is None:
        return quoted(source.name)
    return f"{quoted(source.name)} FOR SYSTEM_TIME AS OF TIMESTAMP '{source.instant.isoformat()}'"


def week_of(source: BigQueryTable) -> str:
    """The Sunday of a row's week, as an expression."""
    if source.spec.week_title is None:
        return f"DATE '{ALL_TIME.start.isoformat()}'"
    return f"DATE_TRUNC(DATE({quoted(source.spec.week_title)}), WEEK(SUNDAY))"


def in_weeks(source: BigQueryTable) -> str:
    """Bounds in the column's own type, so that BigQuery prunes partitions, then the exact weeks."""
    title = source.spec.week_title
    if title is None:
        return "TRUE"
    kind = source.types[title]
    first, after = (
        f"@{bound}" if kind == "DATE" else f"{kind}({day})"
        for bound, day in (
            (FIRST_PARAMETER, f"@{FIRST_PARAMETER}"),
            (AFTER_PARAMETER, f"@{AFTER_PARAMETER}"),
        )
    )
    date = quoted(title)
    return (
        f"{date} >= {first} AND {date} < {after}\n"
        f"        AND {week_of(source)} IN UNNEST(@{WEEKS_PARAMETER})"
    )


def _winner_first(source: BigQueryTable) -> str:
    names = [column.name for column in source.columns]
    latest = ["report_date"] if "report_date" in names else []
    values = measures_first(tuple(column.target for column in source.columns))
    named = [column.name for column in values if column.name not in latest]
    return ", ".join(f"{quoted(name)} DESC" for name in [*latest, *named])


def _has_days(table: Table) -> bool:
    return table.grain is Grain.DAY


def _grouping(table: Table) -> tuple[str, ...]:
    """The key of an aggregated table, but for the columns that follow from its week or day."""
    days = {"start_date", "end_date", "report_date"}
    return tuple(column.name for column in table.key if column.name not in days)


def _names(tables: Iterable[Table]) -> str:
    """Names of tables as texts in SQL, which need no escaping."""
    return ", ".join(f"'{table.name}'" for table in tables)


def _median_places(tables: Iterable[Table], key: list[str]) -> str:
    """Where each price stands among those of its group, and how many there are."""
    medians = {median: price for table in tables for median, price in table.medians.items()}
    return "".join(
        f""",
        ROW_NUMBER() OVER (
            PARTITION BY {listed(key)} ORDER BY {quoted(price)} IS NULL, {quoted(price)}
        ) AS `{median}_place`,
        COUNT({quoted(price)}) OVER (PARTITION BY {listed(key)}) AS `{median}_known`"""
        for median, price in medians.items()
    )


def _texts(table: Table) -> list[str]:
    return [column.name for column in table.values if column.type == TEXT]


def _dated_texts(tables: Iterable[Table], key: list[str]) -> str:
    """Each text with the date it was known at, the latest of its group, and the greatest of those.

    Taken from every row, also from those that do not count: a null never hides a known title.
    """
    return "".join(
        f""",
        MAX(IF({quoted(text)} IS NULL, NULL, CONCAT(CAST(`report_date` AS STRING), {quoted(text)})))
            OVER (PARTITION BY {listed(key)}) AS `{text}_dated`"""
        for text in {text: None for table in tables for text in _texts(table)}
    )


def _aggregates(table: Table) -> dict[str, str]:
    days = len("2024-08-18")
    expressions = {name: f"SUBSTR(MAX(`{name}_dated`), {days + 1})" for name in _texts(table)}
    expressions["search_query_count"] = "COUNT(*)"
    expressions |= {name: f"SUM({quoted(count)})" for name, count in SUMMED_COUNTS.items()}
    for median, price in table.medians.items():
        # One place for an odd number of prices, two for an even one.
        middle = f"2 * `{median}_place` BETWEEN `{median}_known` AND `{median}_known` + 2"
        for column, extreme in zip(middle_columns(median), ("MIN", "MAX"), strict=True):
            expressions[column] = f"{extreme}(IF({middle}, {quoted(price)}, NULL))"
    return expressions
