"""Rows of `search_query_performance`, which has no column that Postgres computes."""

from datetime import date

import pyarrow as pa

from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.model.types import nulls

WEEK = Period.week_of(date(2025, 8, 10))
TARGET = TargetPeriod(SEARCH_QUERY_PERFORMANCE, WEEK)
SCHEMA = pa.schema(
    [
        (column.name, nulls(0, column.type).type)
        for column in SEARCH_QUERY_PERFORMANCE.columns
        if column.name not in ("start_date", "end_date")
    ]
)


def reader_of(*batches: list[dict]) -> pa.RecordBatchReader:
    """Return rows of one ASIN as they are read, in these batches; what is not given is null."""
    default = dict.fromkeys(SCHEMA.names) | {"marketplace": "US", "asin": "A"}
    return pa.RecordBatchReader.from_batches(
        SCHEMA,
        [pa.RecordBatch.from_pylist([default | row for row in batch], SCHEMA) for batch in batches],
    )
