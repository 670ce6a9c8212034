"""Compose BigQuery SQL for what Storage Read cannot read as it stands: aggregates, and views.

Every name is quoted with backticks: in BigQuery, double quotes make a string literal. Values are
bound parameters. The rows of a table come ordered by week, so that one pass can be cut into weeks.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.casts import (
    KEPT,
    MARKETPLACE_PARAMETER,
    TITLES_PARAMETER,
    day_of,
    keeps_contract,
    quoted,
    typed_columns,
)
from sqp_refresh.model.periods import ALL_TIME, Period
from sqp_refresh.model.tables import (
    SQP_REPORT,
    TEXT,
    SourceSpec,
    Table,
    aggregated_from,
    measures_first,
    middle_columns,
    ours,
)

if TYPE_CHECKING:
    from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

    Parameter = ArrayQueryParameter | ScalarQueryParameter

# Names that a query's result carries beside the table's columns, and the parameters it takes.
WEEK = ours("week")
TABLE = ours("table")
RANK = ours("place")
# What every FROM is called: a column of the name that a table has would mean all of its row.
ROW = ours("row")
WEEKS_PARAMETER = "weeks"
FIRST_PARAMETER = "first"
AFTER_PARAMETER = "after"


def rows_query(source: BigQueryTable) -> str:
    """Return the query for the source's rows as they are: what Storage Read gives, for a view."""
    columns = ",\n    ".join(quoted(column.title) for column in source.columns)
    return f"""
SELECT {week_of(source)} AS {WEEK},
    {columns}
FROM {as_of(source)}
WHERE {in_weeks(source)}
ORDER BY {WEEK}"""


def aggregate_query(source: BigQueryTable, tables: Sequence[Table]) -> str:
    """Return the query for the rows of tables that BigQuery aggregates from one source.

    The source is read once for all tables: each row is taken as often as there are tables, and then
    grouped by table, week and the key of that table. Only rows that keep their contract are in it.
    Where rows of one key and period contradict each other, the same one counts as in the table that
    is filled row by row: the latest date, then the greatest values.

        asin_performance_data  (marketplace, asin)               a row per week
        daily_sqp_data         (report_date, marketplace, asin)  a row per day

    The steps, each a WITH clause:

        source      the weeks' rows, every column under our name and in its type
        good        those that keep their contract
        for_tables  each once for every table, with the columns that this table is grouped by
        ranked      the place of a row among those of one key, and each text with its date
        counted     the rows that count, and the place of each price among those of its group

    Args:
        source: Where the rows are.
        tables: The tables; those that share a column's name share its meaning.
    """
    keys = _key_columns(tables)
    group = [TABLE, WEEK, *(key.alias for key in keys)]
    each_row = [*group, *(name for name in source.spec.key if name not in group)]
    aggregates = ",\n    ".join(
        f"{value} AS {quoted(name)}" for name, value in _aggregates(source, tables).items()
    )
    return f"""
WITH source AS (
    {typed_rows(source)}
), good AS (
    SELECT * FROM source AS {ROW}
    WHERE {keeps_contract(source)}
), for_tables AS (
    SELECT *{"".join(key.definition for key in keys)}
    FROM good AS {ROW} CROSS JOIN UNNEST([{_texts_in_sql(tables)}]) AS {TABLE}
), ranked AS (
    SELECT *, {place(each_row, source)} AS {RANK}{_dated_texts(tables, group)}
    FROM for_tables AS {ROW}
), counted AS (
    SELECT *{_median_places(tables, group)} FROM ranked AS {ROW} WHERE {RANK} = 1
)
SELECT {TABLE}, {WEEK}, {", ".join(key.selected for key in keys)},
    {aggregates}
FROM counted AS {ROW}
GROUP BY {listed(group)}
ORDER BY {TABLE}, {WEEK}"""


def bad_rows_query(source: BigQueryTable) -> str:
    """Return the query for the rows that break their contract, under our names and in our types.

    What cannot be cast is null in them; the column READABLE tells whether there is any of that.
    """
    return f"""
WITH source AS (
    {typed_rows(source)}
)
SELECT * FROM source AS {ROW}
WHERE NOT ({keeps_contract(source)})"""


def aggregated_columns(table: Table) -> list[str]:
    """Name the columns of what `aggregate_query` yields that are a table's; it may have others."""
    middles = (name for median in table.medians for name in middle_columns(median))
    return [*table.group_key, *_texts(table), *table.counts, *table.sums, *middles]


def key_counts(spec: SourceSpec) -> dict[str, str]:
    """Return the rows that each aggregated table must have of a week, as aggregates.

    They are counted over rows with the column KEPT, which tells whether a row keeps its contract.

    Returns:
        An expression by the name that `key_count` gives.
    """
    return {
        key_count(table): (
            f"COUNT(DISTINCT IF({KEPT}, TO_JSON_STRING(STRUCT({listed(table.group_key)})), NULL))"
        )
        for table in aggregated_from(spec)
    }


def key_count(table: Table) -> str:
    """Name the count of the rows that an aggregated table must have."""
    return f"rows_of_{table.name}"


def count_query(name: str, restriction: str = "") -> str:
    """Return the query for the number of rows: the least that can be read of a table.

    Args:
        name: project.dataset.table.
        restriction: A filter in SQL, without WHERE; empty for all rows.
    """
    where = f" WHERE {restriction}" if restriction else ""
    return f"SELECT COUNT(*) FROM {quoted(name)}{where}"


def query_parameters(weeks: Sequence[Period], marketplace: str) -> "list[Parameter]":
    """Return the values that the queries take.

    They are the weeks and their bounds, the marketplace of a source that names none, and the titles
    of the vendor's columns.
    """
    from google.cloud.bigquery import ArrayQueryParameter, ScalarQueryParameter

    after = max(weeks).end + timedelta(days=1)
    return [
        ScalarQueryParameter(FIRST_PARAMETER, "DATE", min(weeks).start),
        ScalarQueryParameter(AFTER_PARAMETER, "DATE", after),
        ArrayQueryParameter(WEEKS_PARAMETER, "DATE", [week.start for week in weeks]),
        ScalarQueryParameter(MARKETPLACE_PARAMETER, "STRING", marketplace),
        ArrayQueryParameter(TITLES_PARAMETER, "STRING", [c.title for c in SQP_REPORT.columns]),
    ]


def typed_rows(source: BigQueryTable, **others: str) -> str:
    """Return a SELECT of the weeks' rows, every column under our name and in its type.

    Args:
        source: Where the rows are.
        others: Expressions over the source's own columns, by the name they get.
    """
    expressions = typed_columns(source) | others
    columns = ",\n    ".join(f"{value} AS {quoted(name)}" for name, value in expressions.items())
    return f"""SELECT {week_of(source)} AS {WEEK},
    {columns}
    FROM {as_of(source)}
    WHERE {in_weeks(source)}"""


def named_rows(source: BigQueryTable) -> str:
    """Return a SELECT of the weeks' rows as they are, every column under our name."""
    columns = ",\n".join(f"{quoted(c.title)} AS {quoted(c.name)}" for c in source.columns)
    return f"SELECT {columns}\nFROM {as_of(source)}\nWHERE {in_weeks(source)}"


def place(key: Sequence[str], source: BigQueryTable) -> str:
    """Return the rank of a row among those of one key; the first counts, as in Postgres."""
    return f"ROW_NUMBER() OVER (PARTITION BY {listed(key)}\nORDER BY {_winner_first(source, key)})"


def listed(names: Sequence[str]) -> str:
    """Return names in backticks, with commas between them."""
    return ", ".join(map(quoted, names))


def as_of(source: BigQueryTable) -> str:
    """Return the source as of its instant, so that all queries of a run see the same rows."""
    name = f"{quoted(source.name)} AS {ROW}"
    if source.instant is None:
        return name
    return f"{name} FOR SYSTEM_TIME AS OF TIMESTAMP '{source.instant.isoformat()}'"


def week_of(source: BigQueryTable) -> str:
    """Return the Sunday of a row's week, as an expression."""
    if source.spec.week_title is None:
        return f"DATE '{ALL_TIME.start.isoformat()}'"
    return f"DATE_TRUNC({day_of(source, source.spec.week_title)}, WEEK(SUNDAY))"


def in_weeks(source: BigQueryTable) -> str:
    """Return the condition for rows of the weeks.

    The bounds are in the column's own type, so that BigQuery prunes partitions; then come the exact
    weeks, which no partition is pruned by.
    """
    title = source.spec.week_title
    if title is None:
        return "TRUE"
    date = quoted(title)
    first, after = bounds(source)
    return (
        f"{date} >= {first} AND {date} < {after}\n"
        f"AND {week_of(source)} IN UNNEST(@{WEEKS_PARAMETER})"
    )


def week_restriction(source: BigQueryTable, week: Period) -> str:
    """Return the filter by which Storage Read gives the rows of one week; empty where all are.

    Storage Read takes no parameters, and dates need no quoting.
    """
    title = source.spec.week_title
    if title is None:
        return ""
    kind, date = source.types[title], quoted(title)
    midnight = " 00:00:00+00:00" if kind == "TIMESTAMP" else ""
    first, after = week.start, week.end + timedelta(days=1)
    return f"{date} >= {kind} '{first}{midnight}' AND {date} < {kind} '{after}{midnight}'"


def bounds(source: BigQueryTable) -> tuple[str, str]:
    """Return the first day of the weeks and the day after them, in the type of the column."""
    assert source.spec.week_title, "a table without weeks is read whole"
    # The midnight that a day begins with is one of UTC, whatever the project's default is.
    bound = {"DATE": "@{}", "DATETIME": "DATETIME(@{})", "TIMESTAMP": "TIMESTAMP(@{}, 'UTC')"}
    kind = bound[source.types[source.spec.week_title]]
    return kind.format(FIRST_PARAMETER), kind.format(AFTER_PARAMETER)


def _winner_first(source: BigQueryTable, key: Sequence[str]) -> str:
    """Return the order of contradicting rows of one key: the latest date, then the greatest values.

    Postgres ranks the rows of `search_query_performance` in the same order, so that all tables are
    made from the same rows.
    """
    names = [column.name for column in source.columns if column.name not in key]
    latest = ["report_date"] if "report_date" in names else []
    values = measures_first(tuple(column.target for column in source.columns))
    others = [
        column.name for column in values if column.name in names and column.name not in latest
    ]
    return ",".join(f"{quoted(name)} DESC" for name in [*latest, *others]) or "1"


@dataclass(frozen=True, slots=True)
class _KeyColumn:
    """A column that tables are grouped by, for those that have it in their key.

    Attributes:
        name: The column.
        alias: What to group by: the column itself, or a copy that is null for the other tables.
        definition: The copy as another column of a SELECT; empty where there is none.
    """

    name: str
    alias: str
    definition: str = ""

    @property
    def selected(self) -> str:
        """Return the column under its own name, once rows are grouped by it."""
        # Without backticks: the emulator would otherwise group by the column of the new name.
        return quoted(self.name) if self.alias == self.name else f"{self.alias} AS {self.name}"


def _key_columns(tables: Sequence[Table]) -> list[_KeyColumn]:
    """List the columns of all keys.

    In a query for several tables, a column may be in the key of some of them only. The rows of the
    others must not be split by it, so they are grouped by a copy that is null for them. The column
    itself stays as it is: it still tells the source's rows apart.
    """
    columns = []
    for name in dict.fromkeys(name for table in tables for name in table.group_key):
        having = [table for table in tables if name in table.group_key]
        if len(having) == len(tables):
            columns.append(_KeyColumn(name, name))
            continue
        alias = ours(f"{name}_of_key")
        copy = f"IF({TABLE} IN ({_texts_in_sql(having)}), {quoted(name)}, NULL)"
        columns.append(_KeyColumn(name, alias, f", {copy} AS {quoted(alias)}"))
    return columns


def _texts_in_sql(tables: Iterable[Table]) -> str:
    """Return names of tables as texts in SQL, which need no escaping."""
    return ", ".join(f"'{table.name}'" for table in tables)


def _median_places(tables: Iterable[Table], key: list[str]) -> str:
    """Return the place of each price among those of its group, and how many there are."""
    medians = {median: price for table in tables for median, price in table.medians.items()}
    return "".join(
        f""",
        ROW_NUMBER() OVER (
            PARTITION BY {listed(key)} ORDER BY {quoted(price)} IS NULL, {quoted(price)}
        ) AS `{_place_in(median)}`,
        COUNT({quoted(price)}) OVER (PARTITION BY {listed(key)}) AS `{_size_of(median)}`"""
        for median, price in medians.items()
    )


def _place_in(median: str) -> str:
    return ours(f"{median}_place")


def _size_of(median: str) -> str:
    return ours(f"{median}_size")


def _dated(text: str) -> str:
    return ours(f"{text}_dated")


def _texts(table: Table) -> list[str]:
    return [column.name for column in table.values if column.type == TEXT]


def _dated_texts(tables: Iterable[Table], key: list[str]) -> str:
    """Return each text with its date, the latest of its group, and the greatest of those.

    They are taken from every row, also from those that do not count: a null never hides a title.
    The date is in front, ten characters long, so that MAX compares dates first.
    """
    return "".join(
        f""",
        MAX(IF({quoted(text)} IS NULL, NULL, CONCAT(CAST(`report_date` AS STRING), {quoted(text)})))
            OVER (PARTITION BY {listed(key)}) AS `{_dated(text)}`"""
        for text in {text: None for table in tables for text in _texts(table)}
    )


def _aggregates(source: BigQueryTable, tables: Sequence[Table]) -> dict[str, str]:
    """Return how each value of the tables is computed from the rows of a group, by its name."""
    expressions: dict[str, str] = {}
    for table in tables:
        expressions |= {
            name: f"SUBSTR(MAX(`{_dated(name)}`), {len('2024-08-18') + 1})"
            for name in _texts(table)
        }
        expressions |= {name: _count(source, tables, name) for name in table.counts}
        expressions |= {name: f"SUM({quoted(measure)})" for name, measure in table.sums.items()}
        for median, measure in table.medians.items():
            expressions |= _middles(median, measure)
    return expressions


def _count(source: BigQueryTable, tables: Sequence[Table], name: str) -> str:
    """Count the different values of a key column; each row has another one if the key is complete.

    COUNT(*) is much cheaper than COUNT(DISTINCT), and the same where no other column of the
    source's key is left out of the tables' keys.
    """
    having = [table for table in tables if name in table.counts]
    counted = having[0].counts[name]
    is_each_row = all(set(source.spec.key) - set(t.group_key) == {counted} for t in having)
    return "COUNT(*)" if is_each_row else f"COUNT(DISTINCT {quoted(counted)})"


def _middles(median: str, measure: str) -> dict[str, str]:
    """Pick the middle values of a measure: one for an odd number of them, two for an even one."""
    twice, size = f"2 * `{_place_in(median)}`", f"`{_size_of(median)}`"
    is_middle = f"{twice} BETWEEN {size} AND {size} + 2"
    return {
        column: f"{extreme}(IF({is_middle}, {quoted(measure)}, NULL))"
        for column, extreme in zip(middle_columns(median), ("MIN", "MAX"), strict=True)
    }
