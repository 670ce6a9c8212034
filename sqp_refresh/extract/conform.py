"""Source batches into the batches that staging takes: our names, and types Postgres has too."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.extract.convert import convert
from sqp_refresh.extract.source import Source
from sqp_refresh.tables import (
    CHILD_ASIN_TITLE,
    MARKETPLACE_TITLE,
    PARENT_ASIN_TITLE,
    PRICE,
    SourceColumn,
    Table,
)


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
                for column in self.source.spec.columns
                if column.name in wanted
            }
        )

    def _column(self, batch: pa.RecordBatch, column: SourceColumn) -> pa.Array:
        if column.title not in self.source.types:
            default = self.marketplace if column.title == MARKETPLACE_TITLE else None
            return pa.array([default] * batch.num_rows, pa.string())
        array = convert(batch.column(column.title.lower()), column.type, column.title)
        if self.source.spec.name is None and column.title == CHILD_ASIN_TITLE:
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
