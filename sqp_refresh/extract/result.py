"""What BigQuery aggregated, in the types that staging takes; its names are ours already."""

from collections.abc import Iterable

import pyarrow as pa

from sqp_refresh.reading import convert
from sqp_refresh.tables import PRICE, Table


def conform_result(
    table: Table, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> pa.RecordBatchReader:
    """A query's result with its types brought into line.

    Raises:
        DataError: while it is read, for a value that is not what its column is.
    """
    types = {column.name: column.type for column in table.columns}

    def conformed(batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.RecordBatch.from_pydict(
            {
                name: convert(batch.column(name), types.get(name, PRICE), name)
                for name in batch.schema.names
            }
        )

    empty = pa.RecordBatch.from_pylist([], schema)
    return pa.RecordBatchReader.from_batches(conformed(empty).schema, map(conformed, batches))
