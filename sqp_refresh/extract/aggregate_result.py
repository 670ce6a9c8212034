"""Take a table's part of what BigQuery aggregated, and cast it to the types of staging.

The rows of all tables aggregated from one source come in one result, with our names already.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.extract.casts import READABLE
from sqp_refresh.extract.sql import TABLE, WEEK, aggregated_columns
from sqp_refresh.model.tables import PRICE, SourceSpec, Table
from sqp_refresh.model.types import cast


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of a result that is read; by default all of it.

    Attributes:
        table: The table whose rows are read, of a result that has those of several.
        columns: The columns that are read.
    """

    table: str | None = None
    columns: tuple[str, ...] = ()

    @classmethod
    def for_table(cls, table: Table) -> "Excerpt":
        """Return the part that belongs to a table, of all that was aggregated from its source."""
        return cls(table.name, (TABLE, WEEK, *aggregated_columns(table)))

    @property
    def restriction(self) -> str:
        """Return the filter by which Storage Read gives these rows alone."""
        return f"{TABLE} = '{self.table}'" if self.table else ""

    def of(self, result: pa.Table) -> pa.Table:
        """Return this part of a result that was read whole."""
        if self.table is None:
            return result
        return result.filter(
            pc.call_function("equal", [result.column(TABLE), pa.scalar(self.table)])
        )


def conform_result(
    table: Table, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> pa.RecordBatchReader:
    """Return a table's columns of a query's result, cast to the types that staging has.

    Raises:
        DataError: while it is read, for a value that is not what its column is.
    """
    types = {column.name: column.type for column in table.columns}

    # The middle values of a median are prices, and not columns of the table.
    def cast_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict(
            {
                name: cast(batch.column(name), types.get(name, PRICE), name)
                for name in aggregated_columns(table)
            }
        )

    empty = pa.RecordBatch.from_pylist([], schema)
    return pa.RecordBatchReader.from_batches(cast_batch(empty).schema, map(cast_batch, batches))


def conform_bad_rows(spec: SourceSpec, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the result of `bad_rows_query` with its columns cast to the types that staging has.

    Raises:
        DataError: a value is not what its column is.
    """
    columns = {
        column.name: cast(batch.column(column.name), column.type, column.title)
        for column in spec.columns
    }
    others = {name: batch.column(name) for name in (WEEK, READABLE)}
    return pa.RecordBatch.from_pydict(columns | others)
