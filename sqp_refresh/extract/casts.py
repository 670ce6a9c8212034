"""Cast a source's columns inside BigQuery, and hold its rows against their contract there.

A row with a value that cannot be cast is marked as unreadable, exactly as `model.types.try_cast`
does it for the rows that are read; the rules of the contract are then the very same text. Whatever
the defaults of a project or a dataset are, a day is one of UTC, and texts are equal if their bytes
are: administrators can set another time zone, and collations that ignore case.
"""

import re

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.model.contract import MOST, NON_BLANK, decisive_rules, titles_in_sql
from sqp_refresh.model.tables import SourceColumn, ours
from sqp_refresh.model.types import TEXT_OF, LogicalType, logical_type

MARKETPLACE_PARAMETER = "marketplace"
TITLES_PARAMETER = "titles"

# Whether the values of a row could be cast, and whether it keeps its contract.
READABLE = ours("readable")
KEPT = ours("kept")

_TYPES = {
    LogicalType.TEXT: "STRING",
    LogicalType.DATE: "DATE",
    LogicalType.WHOLE: "INT64",
    LogicalType.NUMBER: "FLOAT64",
    LogicalType.FLAG: "BOOL",
    LogicalType.INSTANT: "TIMESTAMP",
}
_IS_FINITE = "ABS({}) < CAST('inf' AS FLOAT64)"
# To cast a number is to round it, and null where it is beyond INT64, infinite, or none.
_IS_WHOLE = "SAFE_CAST({0} AS INT64) = {0}"
# A text such as 200.0 is none that BigQuery casts to INT64.
_WHOLE_TEXT = "SAFE_CAST(SAFE_CAST(TRIM({}) AS BIGNUMERIC) AS INT64)"
# SAFE_CAST alone would also take hexadecimal, which Arrow is kept from reading too.
_IS_WRITTEN = "REGEXP_CONTAINS(TRIM(value), r'^({})$') AND {}"
_CAN_BE_CAST = {
    ("STRING", LogicalType.WHOLE): _IS_WRITTEN.format(
        TEXT_OF[LogicalType.WHOLE], f"{_WHOLE_TEXT.format('value')} IS NOT NULL"
    ),
    ("STRING", LogicalType.NUMBER): _IS_WRITTEN.format(
        TEXT_OF[LogicalType.NUMBER], _IS_FINITE.format("SAFE_CAST(TRIM(value) AS FLOAT64)")
    ),
    ("FLOAT", LogicalType.WHOLE): _IS_WHOLE.format("value"),
    ("NUMERIC", LogicalType.WHOLE): _IS_WHOLE.format("value"),
    ("BIGNUMERIC", LogicalType.WHOLE): _IS_WHOLE.format("value"),
}
"""When a value can be cast, by BigQuery's type and ours; all values can where there is no entry."""


def quoted(name: str) -> str:
    """Return a name in backticks; the settings have refused names that hold one."""
    return f"`{name}`"


def typed_columns(source: BigQueryTable) -> dict[str, str]:
    """Return each column of the contract as an expression, and whether a row was readable.

    In a row that is not readable, the columns may hold anything.
    """
    expressions = {column.name: _column(source, column) for column in source.spec.columns}
    return expressions | {READABLE: " AND ".join(_all_readable(source)) or "TRUE"}


def keeps_contract(source: BigQueryTable) -> str:
    """Return the condition that a row of typed columns keeps its contract; it is never null."""
    rules = [_in_bigquery(source, rule.sql) for rule in decisive_rules(source.spec)]
    # Of conditions joined by AND, one that is false makes the whole false, and one that is null
    # never does: the same as if each of them were held against null for itself.
    kept = "\nAND ".join(
        f"({rule})" if " OR " in rule else rule for rule in (quoted(READABLE), *rules)
    )
    return f"({kept}) IS NOT FALSE"


def day_of(source: BigQueryTable, title: str) -> str:
    """Return the day of a date or of a point in time, in UTC, as an expression."""
    zone = ", 'UTC'" if source.types[title] == "TIMESTAMP" else ""
    return f"DATE({quoted(title)}{zone})"


def _in_bigquery(source: BigQueryTable, rule: str) -> str:
    """Write a rule as BigQuery has it.

    It names one function otherwise, whose patterns are raw strings there; the list of titles, which
    many rules have, is a parameter; the greatest count, which most have, is written short, and so
    are blanks.
    """
    if source.spec.is_vendor_report:
        rule = rule.replace(f"({titles_in_sql(source.spec)})", f"UNNEST(@{TITLES_PARAMETER})")
    rule = re.sub(r"REGEXP_LIKE\((`[^`]*`), '", r"REGEXP_CONTAINS(\1,r'", rule)
    return re.sub(r" ([-+*/<>=]+) |(,) ", r"\1\2", rule.replace(f" {MOST}", f" {MOST:.0e}"))


def _column(source: BigQueryTable, column: SourceColumn) -> str:
    to = logical_type(column.type)
    if column.title not in source.types:
        if column.name == "marketplace":
            return f"@{MARKETPLACE_PARAMETER}"
        return f"CAST(NULL AS {_TYPES[to]})"
    if to is LogicalType.DATE:
        return day_of(source, column.title)
    name = uncollated(source, column.title)
    if source.spec.is_missing_when_blank(column):
        is_asin = column.name == "asin"
        instead = uncollated(source, source.title_of("parent_asin")) if is_asin else "NULL"
        return f"IF(REGEXP_CONTAINS({name}, r'{NON_BLANK}'), {name}, {instead})"
    type_ = source.types[column.title]
    match to, type_:
        case LogicalType.WHOLE, "STRING":
            return _WHOLE_TEXT.format(name)
        case LogicalType.NUMBER, "STRING":
            return f"SAFE_CAST(TRIM({name}) AS FLOAT64)"
        case LogicalType.WHOLE, ("FLOAT" | "NUMERIC" | "BIGNUMERIC"):
            return f"SAFE_CAST({name} AS INT64)"
        case LogicalType.NUMBER, ("NUMERIC" | "BIGNUMERIC") if not source.spec.is_vendor_report:
            # To what a column of another type has room for, a NUMERIC cannot be compared.
            return f"CAST({name} AS FLOAT64)"
    return name


def uncollated(source: BigQueryTable, title: str) -> str:
    """Return a column, without its collation where it has one."""
    return f"COLLATE({quoted(title)}, '')" if title in source.collated else quoted(title)


def _all_readable(source: BigQueryTable) -> list[str]:
    """Return conditions that all of a row's values can be cast; null or true where they can.

    Each is written once, and not for each of the thirty columns that it may be about.
    """
    conditions: list[str] = []
    values: dict[str, list[str]] = {}
    for column in source.columns:
        kind = source.types[column.title], logical_type(column.type)
        if kind == ("FLOAT", LogicalType.NUMBER):
            # What most vendors send, so that it has to be fast. A comparison with NaN is false.
            conditions.append(_IS_FINITE.format(quoted(column.title)))
        elif kind in _CAN_BE_CAST:
            values.setdefault(_CAN_BE_CAST[kind], []).append(uncollated(source, column.title))
    all_of = "(SELECT COUNTIF(({}) IS NOT TRUE) FROM UNNEST([{}]) AS value WHERE value IS NOT NULL)"
    for condition, of in values.items():
        conditions.append(f"{all_of.format(condition, ', '.join(of))} = 0")
    return conditions
