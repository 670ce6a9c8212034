"""Source batches into the batches that staging takes: our names, and types Postgres has too.

Nothing is rounded here: shares and prices keep the type the source gave them, and become NUMERIC
in Postgres, once.
"""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.errors import DataError, one_line
from sqp_refresh.extract.source import Source
from sqp_refresh.tables import (
    COUNT,
    DATE,
    MARKETPLACE_TITLE,
    PARENT_ASIN_TITLE,
    PERCENT,
    PRICE,
    SOURCE_COLUMNS,
    TEXT,
    SourceColumn,
    Table,
)

_IN_WORDS = {
    TEXT: "a text",
    DATE: "a date",
    COUNT: "a whole number",
    PERCENT: "a number",
    PRICE: "a number",
}


@dataclass(frozen=True, slots=True)
class RowShape:
    """How the source's own rows become rows of a table that is filled row by row."""

    source: Source
    table: Table
    marketplace: str

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Rename, convert and complete one batch; `report_date` is kept to rank equal keys."""
        wanted = {column.name for column in self.table.columns} | {"report_date"}
        # To BigQuery, a column's name is the same in any case.
        batch = batch.rename_columns([name.lower() for name in batch.schema.names])
        return pa.RecordBatch.from_pydict(
            {
                column.name: self._column(batch, column)
                for column in SOURCE_COLUMNS
                if column.name in wanted
            }
        )

    def _column(self, batch: pa.RecordBatch, column: SourceColumn) -> pa.Array:
        if column.title not in self.source.types:
            default = self.marketplace if column.title == MARKETPLACE_TITLE else None
            return pa.array([default] * batch.num_rows, pa.string())
        array = convert(batch.column(column.title.lower()), column.type, column.title)
        if column.name == "asin":
            return pc.call_function("coalesce", [array, batch.column(PARENT_ASIN_TITLE.lower())])
        return array


def conform_result(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    """A query's result has our names already; only the types are brought into line."""
    types = {column.name: column.type for column in table.columns}
    return pa.RecordBatch.from_pydict(
        {
            name: convert(batch.column(name), types.get(name, PRICE), name)
            for name in batch.schema.names
        }
    )


def convert(array: pa.Array, kind: str, title: str) -> pa.Array:
    """One column in a type that staging has.

    Raises:
        DataError: a value cannot be read as what the column is; it is named.
    """
    try:
        if kind == TEXT:
            return array.cast(pa.string())
        if kind == DATE:
            return array.cast(pa.date32(), safe=False)  # a time of day is dropped, in UTC
        if kind == COUNT:
            return _trimmed(array).cast(pa.int64())
        return _finite(_fraction(array))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {title!r} of the source holds a value that is not {_IN_WORDS[kind]}: "
            f"{one_line(error)}"
        ) from None


def _fraction(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        # Fifteen digits survive, far more than a share or a price has.
        return _trimmed(array).cast(pa.float64())
    if pa.types.is_decimal256(array.type):
        return array.cast(pa.string())
    return array


def _trimmed(array: pa.Array) -> pa.Array:
    if not pa.types.is_string(array.type):
        return array
    return pc.call_function("utf8_trim_whitespace", [array])


def _finite(array: pa.Array) -> pa.Array:
    # Postgres would store NaN in a NUMERIC column.
    if pa.types.is_floating(array.type) and _has_false(pc.call_function("is_finite", [array])):
        raise pa.ArrowInvalid("NaN or Infinity")
    return array


def _has_false(flags: pa.BooleanArray) -> bool:
    return flags.false_count > 0
