"""Hash rows of a few made-up columns, in this process or in another one."""

import pyarrow as pa
from hypothesis import strategies as st

from sqp_refresh.load.row_hashes import RowHasher

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

made_up_rows = st.fixed_dictionaries(
    {
        "asin": st.text(max_size=12),
        "report_date": st.none() | st.dates(),
        "clicks": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
        "share": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "price": st.none() | st.decimals(0, 10**9, places=2),
        "is_sold": st.none() | st.booleans(),
    }
)


def reader_of(*batches: list[dict]) -> pa.RecordBatchReader:
    """Return rows as they are read, in these batches."""
    return pa.RecordBatchReader.from_batches(
        SCHEMA, [pa.RecordBatch.from_pylist(batch, SCHEMA) for batch in batches]
    )


def row_hasher() -> RowHasher:
    """Return what hashes rows whose key is their ASIN."""
    return RowHasher(SCHEMA.names, ["asin"])


def hashes_of(*batches: list[dict]) -> bytes:
    """Return the hashes of rows as the ledger keeps them."""
    hasher = row_hasher()
    for batch in reader_of(*batches):
        hasher.add(batch)
    hashes = hasher.to_bytes()
    assert hashes is not None, "each key comes once"
    return hashes
