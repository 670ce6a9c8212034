"""Cast a source's columns inside BigQuery, and hold its rows against their contract there.

What cannot be cast becomes null and marks its row, exactly as `model.types.try_cast` does it for
the rows that are read; the rules of the contract are then the very same text.
"""

import re

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.model.contract import decisive_rules
from sqp_refresh.model.tables import (
    CHILD_ASIN_TITLE,
    MARKETPLACE_TITLE,
    PARENT_ASIN_TITLE,
    SourceColumn,
)
from sqp_refresh.model.types import TEXT_OF, LogicalType, logical_type

MARKETPLACE_PARAMETER = "marketplace"
READABLE = "readable"

_INT64 = "9223372036854775807"
_TYPES = {
    LogicalType.TEXT: "STRING",
    LogicalType.DATE: "DATE",
    LogicalType.WHOLE: "INT64",
    LogicalType.NUMBER: "FLOAT64",
    LogicalType.FLAG: "BOOL",
    LogicalType.INSTANT: "TIMESTAMP",
}


def quoted(name: str) -> str:
    """Return a name in backticks; the settings have refused names that hold one."""
    return f"`{name}`"


def typed_columns(source: BigQueryTable) -> dict[str, str]:
    """Return each column of the contract as an expression, and whether a row was readable."""
    expressions = {column.name: _column(source, column) for column in source.spec.columns}
    lossy = [column for column in source.columns if _typed(source, column) != quoted(column.title)]
    readable = " AND ".join(
        f"({quoted(column.title)} IS NULL OR {_typed(source, column)} IS NOT NULL)"
        for column in lossy
        if logical_type(column.type) is not LogicalType.DATE
    )
    return expressions | {READABLE: readable or "TRUE"}


def keeps_contract(source: BigQueryTable) -> str:
    """Return the condition that a row of typed columns keeps its contract; it is never null."""
    rules = (f"({_in_bigquery(rule.sql)}) IS NOT FALSE" for rule in decisive_rules(source.spec))
    return "\n        AND ".join((quoted(READABLE), *rules))


def _in_bigquery(rule: str) -> str:
    """Rename the one function that BigQuery names otherwise; its patterns are raw strings."""
    return re.sub(r"REGEXP_LIKE\((`[^`]*`), '", r"REGEXP_CONTAINS(\1, r'", rule)


def _column(source: BigQueryTable, column: SourceColumn) -> str:
    if column.title not in source.types:
        if column.title == MARKETPLACE_TITLE:
            return f"@{MARKETPLACE_PARAMETER}"
        return f"CAST(NULL AS {_TYPES[logical_type(column.type)]})"
    if source.spec.is_vendor_report and column.title == CHILD_ASIN_TITLE:
        return f"COALESCE({quoted(CHILD_ASIN_TITLE)}, {quoted(PARENT_ASIN_TITLE)})"
    return _typed(source, column)


def _typed(source: BigQueryTable, column: SourceColumn) -> str:
    """Return a column in its type, null where a value cannot be cast."""
    name, type_ = quoted(column.title), source.types[column.title]
    to = logical_type(column.type)
    if to is LogicalType.DATE:
        return f"DATE({name})"
    if to not in (LogicalType.WHOLE, LogicalType.NUMBER) or type_ == "INTEGER":
        return name
    if type_ == "STRING":
        # SAFE_CAST alone would also take hexadecimal, which Arrow is kept from reading too.
        is_number = f"REGEXP_CONTAINS(TRIM({name}), r'^({TEXT_OF[to]})$')"
        number = f"IF({is_number}, SAFE_CAST(TRIM({name}) AS {_TYPES[to]}), NULL)"
        return number if to is LogicalType.WHOLE else _finite(number)
    if to is LogicalType.WHOLE:
        whole = f"{name} = FLOOR({name}) AND ABS({name}) < {_INT64}"
        return f"IF({whole}, SAFE_CAST({name} AS INT64), NULL)"
    return _finite(name) if type_ == "FLOAT" else name


def _finite(number: str) -> str:
    # A comparison with NaN is never true.
    return f"IF(ABS({number}) < CAST('inf' AS FLOAT64), {number}, NULL)"
