"""Fingerprints of a few made-up columns, computed here or in another process."""

import pyarrow as pa

from sqp_refresh.load.delta import DeltaFilter

SCHEMA = pa.schema(
    [
        ("asin", pa.string()),
        ("report_date", pa.date32()),
        ("clicks", pa.int64()),
        ("share", pa.float64()),
        ("price", pa.decimal128(12, 2)),
        ("is_sold", pa.bool_()),
    ]
)


def incoming(*batches: list[dict], known: bytes | None = None) -> DeltaFilter:
    reader = pa.RecordBatchReader.from_batches(
        SCHEMA, [pa.RecordBatch.from_pylist(batch, SCHEMA) for batch in batches]
    )
    return DeltaFilter.of(reader, reader.schema.names, ["asin"], known)


def fingerprints(*batches: list[dict]) -> bytes:
    read = incoming(*batches)
    assert sum(batch.num_rows for batch in read.differing()) == sum(map(len, batches))
    told_apart = read.fingerprints()
    assert told_apart is not None
    return told_apart
