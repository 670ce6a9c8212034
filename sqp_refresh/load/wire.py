"""Arrow batches as the bytes of Postgres's binary COPY.

Each column is written whole, a piece for each row: four bytes that tell the length of the value,
and the value in the form that its type's own `recv` function reads. Then Arrow joins the pieces of
each row. Nothing is done row by row, or value by value.
"""

from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.load.numerics import numerics

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_NULL = b"\xff\xff\xff\xff"
_NOTHING = b""

# Arrow counts from 1970, and Postgres from 2000.
_DAYS = 10_957
_MICROSECONDS = _DAYS * 86_400 * 1_000_000


def postgres_type(field: pa.Field) -> str:
    """The Postgres type that an Arrow field is written as.

    Raises:
        SchemaMismatch: there is none; the column must be cast in Arrow first.
    """
    if pa.types.is_decimal128(field.type):
        return "numeric"
    if field.type not in _FORMS:
        raise SchemaMismatch(
            f"column {field.name!r} has the Arrow type {field.type}, not one of ours"
        )
    return _FORMS[field.type][0]


def to_wire(batch: pa.RecordBatch) -> memoryview:
    """The rows of a batch, to be sent between `HEADER` and `TRAILER`."""
    pieces = [
        _constant(batch.num_columns.to_bytes(2, "big")),
        *(piece for column in batch.columns for piece in _written(column)),
        _constant(_NOTHING),  # between them
    ]
    rows = pc.call_function("binary_join_element_wise", pieces)
    _, offsets, data = rows.buffers()
    ends = np.frombuffer(offsets, np.int32)
    return memoryview(data)[ends[0] : ends[len(rows)]]


def _written(column: pa.Array) -> Iterator[pa.BinaryArray]:
    if pa.types.is_decimal128(column.type):
        return _fixed(numerics(column), column)
    return _FORMS[column.type][1](column)


def _numbers(dtype: str, *, less: int = 0) -> Callable[[pa.Array], Iterator[pa.BinaryArray]]:
    def write(column: pa.Array) -> Iterator[pa.BinaryArray]:
        values = _values(column, dtype)
        return _fixed(values - less if less else values, column)

    return write


def _booleans(column: pa.Array) -> Iterator[pa.BinaryArray]:
    return _fixed(_values(column.cast(pa.uint8()), "u1"), column)


def _texts(column: pa.Array) -> Iterator[pa.BinaryArray]:
    texts = column.cast(pa.binary())
    lengths = pc.call_function("binary_length", [texts])
    yield _pieces(lengths.fill_null(-1).to_numpy().astype(">i4"))
    yield texts.fill_null(_NOTHING)


_FORMS: dict[pa.DataType, tuple[str, Callable[[pa.Array], Iterator[pa.BinaryArray]]]] = {
    pa.int64(): ("bigint", _numbers("i8")),
    pa.float64(): ("double precision", _numbers("f8")),
    pa.string(): ("text", _texts),
    pa.date32(): ("date", _numbers("i4", less=_DAYS)),
    pa.bool_(): ("boolean", _booleans),
    pa.timestamp("us", "UTC"): ("timestamp with time zone", _numbers("i8", less=_MICROSECONDS)),
}


def _values(column: pa.Array, dtype: str) -> np.ndarray:
    """The values as Arrow holds them; what stands where one is null means nothing."""
    _, data = column.buffers()
    return np.frombuffer(data, dtype)[column.offset : column.offset + len(column)]


def _fixed(values: np.ndarray, column: pa.Array) -> Iterator[pa.BinaryArray]:
    """Values of one width, highest byte first; nulls where the column has them."""
    type_ = np.dtype((values.dtype.newbyteorder(">"), values.shape[1:]))
    pieces = np.empty(len(values), [("length", ">i4"), ("value", type_)])
    pieces["length"], pieces["value"] = type_.itemsize, values
    written = _pieces(pieces)
    if column.null_count:
        written = pc.call_function("if_else", [column.is_valid(), written, _constant(_NULL)])
    yield written


@cache
def _constant(value: bytes) -> pa.BinaryScalar:
    # Made when it is needed: the first scalar has Arrow import pandas.
    return pa.scalar(value, pa.binary())


def _pieces(pieces: np.ndarray) -> pa.BinaryArray:
    width = pieces.dtype.itemsize
    ends = np.arange(len(pieces) + 1, dtype=np.int32) * np.int32(width)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(pieces)]
    return pa.Array.from_buffers(pa.binary(), len(pieces), buffers)
