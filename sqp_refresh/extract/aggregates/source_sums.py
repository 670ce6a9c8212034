"""Compose what BigQuery adds up of each column, over the rows that the target should hold.

These are aggregates of the state query, which reads the rows anyway. `lands` is 1 for a row that
the target should hold and null for any other, so that a product with it is what has to be added.

Numbers that come in floating point are taken as the column would hold them: of fifteen digits,
rounded half away from zero. A double that stands for a shorter decimal is always rounded so. Of one
with more digits, that lies within 1e-14 of itself from the middle between two numbers of the
column, this is not known for certain; the sum is then given with the least that it may be.
"""

from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.casts import quoted
from sqp_refresh.model.column_sums import ColumnSum, Summed, scale_of, summed_as
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.table import PERIOD_COLUMNS
from sqp_refresh.model.tables import (
    OWN_COUNTS,
    SEARCH_QUERY_PERFORMANCE,
    SQP_REPORT,
    Column,
    Origin,
    SourceColumn,
    SourceSpec,
    Table,
    aggregated_from,
    ours,
)

LANDS = ours("lands")
LANDS_ON_ITS_DAY = ours("day")
"""Columns that are 1 for a row that the target should hold, and null for any other."""

_EPOCH = date(1970, 1, 1)
# Of a number in the middle between two of the column, this is more than its binary form, a product
# and the rounding to fifteen digits can be off.
UP, DOWN = ours("up"), ours("down")
_FACTORS = {UP: "1.00000000000001", DOWN: "0.99999999999999"}
_FLOATING = frozenset({"FLOAT", "STRING"})
_NUMBERS = {
    Summed.TEXT: "CAST(CONCAT('0x',SUBSTR(TO_HEX(MD5({})),1,8)) AS INT64)",
    Summed.DATE: "UNIX_DATE({})",
    Summed.WHOLE: "{}",
    Summed.FLAG: "CAST({} AS INT64)",
    Summed.INSTANT: "UNIX_MICROS({})",
}
_CAN_BE_MULTIPLIED = frozenset({Summed.WHOLE, Summed.DECIMAL})


def landing_columns(lands: str, lands_on_its_day: str) -> str:
    """Return the columns that rows are multiplied with, of the conditions that they land."""
    factors = {LANDS_ON_ITS_DAY: (lands_on_its_day, "1"), LANDS: (lands, "1")}
    factors |= {name: (lands, factor) for name, factor in _FACTORS.items()}
    return ", ".join(f"IF({of},{factor},NULL) AS {name}" for name, (of, factor) in factors.items())


def column_sums(source: BigQueryTable) -> dict[str, str]:
    """Return the aggregates of all columns, over rows with `lands`."""
    return {
        name: aggregate
        for number, column in enumerate(source.spec.columns)
        if column in _certified(source.spec)
        for name, aggregate in _of_column(source, column, number)
    }


def raw_columns(source: BigQueryTable) -> dict[str, str]:
    """Return decimals of the source as they are, where they are read as floating point otherwise.

    Only a registered table has them: of the vendor's report, a decimal stays one.
    """
    if source.spec.is_vendor_report:
        return {}
    return {
        _raw(number): quoted(column.title)
        for number, column in enumerate(source.spec.columns)
        if summed_as(column.type) is Summed.DECIMAL
        and source.types.get(column.title) in ("NUMERIC", "BIGNUMERIC")
    }


def sums_on_days(spec: SourceSpec) -> dict[str, str]:
    """Return the sums over the rows that land on their day, by the name that `_on_days` gives."""
    counts = {
        count: None
        for table in aggregated_from(spec)
        if table.grain is Grain.DAY
        for count in table.sums.values()
    }
    return {
        _on_days(spec, count): f"SUM({LANDS_ON_ITS_DAY}*{quoted(count)})"
        for count in dict.fromkeys((*OWN_COUNTS, *counts))
    } | {"landing_on_days": f"COUNT({LANDS_ON_ITS_DAY})"}


def read_column_sums(table: Table, week: Period, row: Mapping[str, Any]) -> dict[str, ColumnSum]:
    """Read what a table must hold of a week, column by column; nothing of one without rows."""
    if not row["source_rows"]:
        return {}
    if table.origin is Origin.SOURCE_ROWS:
        return dict(_of_rows(table, week, row))
    return dict(_of_aggregates(table, row))


def own_sum(spec: SourceSpec, row: Mapping[str, Any], count: str, *, on_days: bool) -> int:
    """Read the sum of one of an ASIN's own counts; 0 where it is always unknown."""
    name = _on_days(spec, count) if on_days else f"s{_number(spec, count)}"
    return int(row[name] or 0)


def _of_column(
    source: BigQueryTable, column: SourceColumn, number: int
) -> Iterator[tuple[str, str]]:
    kind, name = summed_as(column.type), quoted(column.name)
    landing = f"IF({LANDS}=1,{name},NULL)"
    if kind in _CAN_BE_MULTIPLIED:
        landing = f"{LANDS}*{name}"
    yield f"n{number}", f"COUNT({landing})"
    if kind is Summed.NOTHING:
        return
    if kind is not Summed.DECIMAL:
        yield f"s{number}", _sum(source, _NUMBERS[kind].format(landing))
        return
    if source.types[column.title] in _FLOATING:
        yield from _of_floating(source, scale_of(column.type), name, number)
        return
    # A column of the raw value is there only for a registered table.
    value = f"{LANDS}*{_raw(number)}" if _raw(number) in raw_columns(source) else landing
    # A whole number: with a floating one, a decimal becomes floating, too.
    in_units = f"CAST(ROUND({value}*{10 ** scale_of(column.type)}) AS INT64)"
    yield f"s{number}", _sum(source, in_units)


def _of_floating(
    source: BigQueryTable, scale: int, value: str, number: int
) -> Iterator[tuple[str, str]]:
    """Return the most and the least that the sum of a column may be."""
    up, down = (f"{factor}*{value}*1e{scale}" for factor in _FACTORS)
    if not source.spec.is_vendor_report:
        # Of a negative number, the greater product is the lesser number.
        up, down = f"GREATEST({up},{down})", f"LEAST({up},{down})"
    # A cast rounds to the nearest: neither product lies in the middle.
    for name, product in {"s": up, "l": down}.items():
        yield f"{name}{number}", _sum(source, f"CAST({product} AS INT64)")


def _sum(source: BigQueryTable, value: str) -> str:
    """Add up whole numbers; those of the report are small enough, of others nobody knows."""
    return f"SUM({value})" if source.spec.is_vendor_report else f"SUM(CAST({value} AS BIGNUMERIC))"


def _of_rows(table: Table, week: Period, row: Mapping[str, Any]) -> Iterator[tuple[str, ColumnSum]]:
    assert table.source, "its rows come from a source"
    rows, days = row["landing"], _days(table, week)
    for column in table.columns:
        if column.name in days:
            yield column.name, ColumnSum(0, Decimal(rows * (days[column.name] - _EPOCH).days))
        else:
            number = _number(table.source, column.name)
            total = _decimal(row.get(f"s{number}", _NONE), column)
            least = _decimal(row.get(f"l{number}", _NONE), column)
            nulls = rows - row[f"n{number}"]
            yield column.name, ColumnSum(nulls, total, None if least == total else least)


def _of_aggregates(table: Table, row: Mapping[str, Any]) -> Iterator[tuple[str, ColumnSum]]:
    assert table.source, "its rows come from a source"
    on_days = table.grain is Grain.DAY
    for name, count in table.sums.items():
        total = own_sum(table.source, row, count, on_days=on_days)
        yield name, ColumnSum(None, Decimal(total))
    rows = row["landing_on_days" if on_days else "landing"]
    for name, counted in table.counts.items():
        # Each row has another value of it, if nothing else of the source's key is left out.
        if set(table.source.key) - set(table.group_key) == {counted}:
            yield name, ColumnSum(None, Decimal(rows))


def _days(table: Table, week: Period) -> dict[str, date]:
    """Return the columns that hold the first or the last day of the week, where no source does."""
    assert table.source, "its rows come from a source"
    read = {column.name for column in table.source.columns}
    return {
        name: week.start if name in ("start_date", "period_start") else week.end
        for name in PERIOD_COLUMNS
        if name in table.names - read
    }


_NONE = object()


def _decimal(units: Any, column: Column) -> Decimal | None:  # noqa: ANN401, what a query yields
    """Return a sum of units of a column's last decimal place; 0 over no value."""
    if units is _NONE:
        return None
    return Decimal(int(units or 0)).scaleb(-scale_of(column.type))


def _certified(spec: SourceSpec) -> list[SourceColumn]:
    """List the columns that the table of a source's rows has."""
    if not spec.is_vendor_report:
        return list(spec.columns)
    of_others = {column.name for column in SQP_REPORT.columns} - SEARCH_QUERY_PERFORMANCE.names
    return [column for column in spec.columns if column.name not in of_others]


def _number(spec: SourceSpec, name: str) -> int:
    return [column.name for column in spec.columns].index(name)


def _raw(number: int) -> str:
    return ours(f"raw{number}")


def _on_days(spec: SourceSpec, count: str) -> str:
    return f"d{_number(spec, count)}"
