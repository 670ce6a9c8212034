"""Add up every column of rows in memory, as BigQuery does it of its own."""

from datetime import date
from decimal import Decimal
from hashlib import md5

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.model.column_sums import ColumnSum, Summed, scale_of, summed_as
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, Column

_EPOCH = date(1970, 1, 1)


def column_sums(rows: pa.RecordBatch) -> dict[str, ColumnSum]:
    """Return what a certificate says of each column of `search_query_performance`."""
    return {
        column.name: ColumnSum(array.null_count, _total(column, array))
        for column in SEARCH_QUERY_PERFORMANCE.columns
        for array in (rows.column(column.name),)
    }


def _total(column: Column, values: pa.Array) -> Decimal:
    match summed_as(column.type):
        case Summed.TEXT:
            return Decimal(sum(map(_number, values.drop_null().to_pylist())))
        case Summed.DATE:
            return Decimal(sum((day - _EPOCH).days for day in values.drop_null().to_pylist()))
        case Summed.DECIMAL:
            scale = scale_of(column.type)
            # No number of the demo has more decimals than its column.
            scaled = pc.call_function(
                "multiply", [values.cast(pa.float64()), pa.scalar(10.0**scale)]
            )
            units = pc.call_function("round", [scaled]).cast(pa.int64())
            return Decimal(pc.call_function("sum", [units]).as_py() or 0).scaleb(-scale)
    return Decimal(pc.call_function("sum", [values]).as_py() or 0)


def _number(text: str) -> int:
    return int.from_bytes(md5(text.encode(), usedforsecurity=False).digest()[:4])
