"""What BigQuery aggregated, in the types that staging takes; its names are ours already.

The rows of all tables aggregated from one source come in one result, of which each table has its
part.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.extract.sql import TABLE, WEEK, aggregated_columns
from sqp_refresh.model.tables import PRICE, Table
from sqp_refresh.model.types import convert


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The part of a result that is wanted; all of it where nothing else is said.

    Attributes:
        table: The table whose rows are wanted, of a result that has those of several.
        columns: The columns that are wanted.
    """

    table: str | None = None
    columns: tuple[str, ...] = ()

    @classmethod
    def for_table(cls, table: Table) -> "Excerpt":
        """What is a table's of all that was aggregated from its source."""
        return cls(table.name, (TABLE, WEEK, *aggregated_columns(table)))

    @property
    def restriction(self) -> str:
        """The rows, as a filter for Storage Read."""
        return f"{TABLE} = '{self.table}'" if self.table else ""

    def of(self, result: pa.Table) -> pa.Table:
        """The part of a result that was read whole."""
        if self.table is None:
            return result
        return result.filter(
            pc.call_function("equal", [result.column(TABLE), pa.scalar(self.table)])
        )


def conform_result(
    table: Table, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> pa.RecordBatchReader:
    """A table's columns of a query's result, with their types brought into line.

    Raises:
        DataError: while it is read, for a value that is not what its column is.
    """
    types = {column.name: column.type for column in table.columns}

    def conformed(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict(
            {
                name: convert(batch.column(name), types.get(name, PRICE), name)
                for name in aggregated_columns(table)
            }
        )

    empty = pa.RecordBatch.from_pylist([], schema)
    return pa.RecordBatchReader.from_batches(conformed(empty).schema, map(conformed, batches))
