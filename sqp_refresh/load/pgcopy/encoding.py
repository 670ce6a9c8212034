"""Arrow batches as the bytes of Postgres's binary COPY.

A row has the number of its columns, and of each value four bytes that tell its length, and the
value in the form that its type's own `recv` function reads. What has one width in every row is
written column by column, side by side; only texts, and columns that hold a null, are joined to it
row by row, by Arrow. Nothing is done row by row, or value by value, in Python.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain, groupby

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.load.pgcopy.numeric import numerics

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
_IS_NULL = -1
_NULL = _IS_NULL.to_bytes(4, "big", signed=True)
_NOTHING = b""

# Arrow counts from 1970, and Postgres from 2000.
_DAYS = 10_957
_MICROSECONDS = _DAYS * 86_400 * 1_000_000


def postgres_type(field: pa.Field) -> str:
    """Return the Postgres type that an Arrow field is written as.

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


def encoded(batch: pa.RecordBatch) -> pa.LargeBinaryArray:
    """Encode each row of a batch as the bytes that it is sent as."""
    count: list[_Piece] = [_Fixed(">i2", batch.num_columns)]
    pieces = chain(count, *map(_written, batch.columns))
    # Neighbours of one width are written together, so that few pieces are left to join row by row.
    joined: list[pa.LargeBinaryArray | pa.LargeBinaryScalar] = []
    for is_fixed, run in groupby(pieces, lambda piece: isinstance(piece, _Fixed)):
        side = list(run)
        joined += [_side_by_side(side, batch.num_rows)] if is_fixed else side
    return pc.call_function("binary_join_element_wise", [*joined, _constant(_NOTHING)])


def as_sent(rows: pa.LargeBinaryArray) -> memoryview:
    """Encoded rows one after the other, to be sent between `HEADER` and `TRAILER`."""
    _, offsets, data = rows.buffers()
    ends = np.frombuffer(offsets, np.int64)[rows.offset :]
    return memoryview(data)[ends[0] : ends[len(rows)]]


@dataclass(frozen=True, slots=True)
class _Fixed:
    """A part of each row that has one width.

    Attributes:
        dtype: What it is written as, highest byte first.
        values: One a row, or one for all rows.
    """

    dtype: npt.DTypeLike
    values: np.ndarray | int


_Piece = _Fixed | pa.LargeBinaryArray


def _written(column: pa.Array) -> Iterable[_Piece]:
    if pa.types.is_decimal128(column.type):
        return _of_one_width(numerics(column), column)
    return _FORMS[column.type][1](column)


def _numbers(dtype: str, *, less: int = 0) -> Callable[[pa.Array], Iterable[_Piece]]:
    def write(column: pa.Array) -> Iterable[_Piece]:
        values = _values(column, dtype)
        return _of_one_width(values - less if less else values, column)

    return write


def _booleans(column: pa.Array) -> Iterable[_Piece]:
    return _of_one_width(_values(column.cast(pa.uint8()), "u1"), column)


def _texts(column: pa.Array) -> Iterable[_Piece]:
    texts = column.cast(pa.large_binary())
    lengths = pc.call_function("binary_length", [texts])
    return _Fixed(">i4", lengths.fill_null(_IS_NULL).to_numpy()), texts.fill_null(_NOTHING)


_FORMS: dict[pa.DataType, tuple[str, Callable[[pa.Array], Iterable[_Piece]]]] = {
    pa.int64(): ("bigint", _numbers("i8")),
    pa.float64(): ("double precision", _numbers("f8")),
    pa.string(): ("text", _texts),
    pa.date32(): ("date", _numbers("i4", less=_DAYS)),
    pa.bool_(): ("boolean", _booleans),
    pa.timestamp("us", "UTC"): ("timestamp with time zone", _numbers("i8", less=_MICROSECONDS)),
}


def _values(column: pa.Array, dtype: str) -> np.ndarray:
    """Return the values as Arrow holds them; what stands where one is null means nothing."""
    _, data = column.buffers()
    return np.frombuffer(data, dtype)[column.offset : column.offset + len(column)]


def _of_one_width(values: np.ndarray, column: pa.Array) -> Iterable[_Piece]:
    """Values and their lengths; of another width where the column has nulls."""
    dtype = np.dtype((values.dtype.newbyteorder(">"), values.shape[1:]))
    pieces = _Fixed(">i4", dtype.itemsize), _Fixed(dtype, values)
    if not column.null_count:
        return pieces
    # A null has a length of -1 and no bytes, so that such a column has no one width any more.
    whole = _side_by_side(pieces, len(values))
    return (pc.call_function("if_else", [column.is_valid(), whole, _constant(_NULL)]),)


def _side_by_side(pieces: Sequence[_Fixed], rows: int) -> pa.LargeBinaryArray:
    written = np.empty(rows, [(f"{place}", piece.dtype) for place, piece in enumerate(pieces)])
    for place, piece in enumerate(pieces):
        written[f"{place}"] = piece.values
    # The array of structs is the data of a binary array already: all it lacks is where rows end.
    ends = np.arange(rows + 1, dtype=np.int64) * written.dtype.itemsize
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(written)]
    return pa.Array.from_buffers(pa.large_binary(), rows, buffers)


@cache
def _constant(value: bytes) -> pa.LargeBinaryScalar:
    # Made when it is needed: the first scalar has Arrow import pandas.
    return pa.scalar(value, pa.large_binary())
