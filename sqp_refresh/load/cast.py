"""Cast rows to the very columns and types of their target, as Postgres would have done it."""

import re
from datetime import date
from decimal import ROUND_HALF_UP, Context, Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.errors import DataError, one_line
from sqp_refresh.load.merge_sql import PERIOD_DAYS
from sqp_refresh.load.pgcopy.encoding import postgres_type
from sqp_refresh.load.pgcopy.numeric import INT64_DIGITS
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Column, Table

_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
_DECIMAL_DIGITS = 38
"""Of the widest decimal that Arrow has in 128 bits."""
# Of what a double says in fifteen digits, computing with it in binary is off by less than this.
_DOUBT = 1e-14
# Digits of the largest double, and of the places behind the point of any column.
_CONTEXT = Context(prec=400)


def target_schema(table: Table, schema: pa.Schema) -> pa.Schema | None:
    """Return the target's columns as Arrow fields; None where Postgres has to compute one of them.

    Args:
        table: The target.
        schema: The rows as they were read.
    """
    fields = []
    for column in table.columns:
        if column.name in schema.names:
            type_ = _exact_type(schema.field(column.name), column)
        else:
            type_ = pa.date32() if column.name in PERIOD_DAYS else None
        if type_ is None:
            return None
        fields.append(pa.field(column.name, type_))
    return pa.schema(fields)


def cast_batch(schema: pa.Schema, period: Period, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Cast one batch to the target's columns; shares and prices rounded as Postgres rounds them.

    Raises:
        DataError: a number is too large for its column.
    """
    days = {name: _day(period, name) for name in PERIOD_DAYS}
    arrays = [
        _exact(batch.column(field.name), field)
        if field.name in batch.schema.names
        else pa.repeat(pa.scalar(days[field.name], field.type), batch.num_rows)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _day(period: Period, column: str) -> date:
    return period.start if column in ("start_date", "period_start") else period.end


def _exact_type(field: pa.Field, column: Column) -> pa.DataType | None:
    numeric = _NUMERIC.fullmatch(column.type)
    if numeric is None:
        return field.type if postgres_type(field) == column.type else None
    precision, scale = map(int, numeric.groups())
    is_exact = pa.types.is_decimal128(field.type) and precision <= _DECIMAL_DIGITS
    is_scaled = pa.types.is_floating(field.type) and precision <= INT64_DIGITS
    return pa.decimal128(precision, scale) if is_exact or is_scaled else None


def _exact(array: pa.Array, field: pa.Field) -> pa.Array:
    if array.type == field.type:
        return array
    try:
        if pa.types.is_decimal(array.type):
            return _rescaled(array, field.type)
        whole = _scaled(array, field.type)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise DataError(f"column {field.name!r}: {one_line(error)}") from None
    # A decimal of 128 bits is a whole number, lower half first; the upper one repeats the sign.
    halves = np.stack([whole, whole >> 63], axis=1)
    valid = array.is_valid().buffers()[1] if array.null_count else None
    return pa.Array.from_buffers(field.type, len(whole), [valid, pa.py_buffer(halves)])


def _scaled(array: pa.DoubleArray, type_: pa.Decimal128Type) -> np.ndarray:
    """Doubles as whole numbers of the last decimal place: of fifteen digits, half away from zero.

    It is computed in binary, and in decimal where that is too close to the middle to tell. Nulls
    are 0.
    """
    numbers = array.fill_null(0.0).to_numpy()
    scaled = numbers * 10.0**type_.scale
    whole = np.rint(scaled)
    # What is no number is not less either.
    if not np.abs(whole).max(initial=0.0) < 10.0**type_.precision:
        raise _too_large(type_)
    is_doubtful = 0.5 - np.abs(scaled - whole) <= np.abs(scaled) * _DOUBT
    exact = whole.astype(np.int64)
    exact[is_doubtful] = [_in_decimal(number, type_) for number in numbers[is_doubtful].tolist()]
    return exact


def _in_decimal(number: float, type_: pa.Decimal128Type) -> int:
    scaled = Decimal(f"{number:.15g}").scaleb(type_.scale, _CONTEXT)
    whole = int(scaled.to_integral_value(ROUND_HALF_UP, _CONTEXT))
    if abs(whole) >= 10**type_.precision:
        raise _too_large(type_)
    return whole


def _too_large(type_: pa.Decimal128Type) -> OverflowError:
    return OverflowError(f"a number is too large for numeric({type_.precision},{type_.scale})")


def _rescaled(array: pa.Array, type_: pa.Decimal128Type) -> pa.Array:
    try:
        return array.cast(type_)
    except pa.ArrowInvalid:
        # There is more to a number than the column holds, which prices hardly have.
        return _rounded(array, type_.scale).cast(type_)


def _rounded(array: pa.Array, digits: int) -> pa.Array:
    options = pc.RoundOptions(digits, "half_towards_infinity")
    return pc.call_function("round", [array], options)
