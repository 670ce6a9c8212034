"""Rows in the very columns and types of their target, as Postgres would have made them."""

import re
from decimal import ROUND_HALF_UP, Context, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.errors import DataError, one_line
from sqp_refresh.load.copying import postgres_type
from sqp_refresh.load.statement import bounds
from sqp_refresh.tables import Column, Table
from sqp_refresh.weeks import Period

_NUMERIC = re.compile(r"numeric\((\d+),(\d+)\)")
# Of what a double says in fifteen digits, computing with it in binary is off by less than this.
_DOUBT = 1e-14
# Digits of the largest double, and of the places behind the point of any column.
_CONTEXT = Context(prec=400)


def exact_schema(table: Table, period: Period, schema: pa.Schema) -> pa.Schema | None:
    """The target's columns as Arrow fields; None where Postgres has to compute one of them."""
    days = bounds(period)
    fields = []
    for column in table.columns:
        if column.name in schema.names:
            type_ = _exact_type(schema.field(column.name), column)
        else:
            type_ = pa.date32() if column.name in days else None
        if type_ is None:
            return None
        fields.append(pa.field(column.name, type_))
    return pa.schema(fields)


def exactly(schema: pa.Schema, period: Period, batch: pa.RecordBatch) -> pa.RecordBatch:
    """One batch in the target's columns; shares and prices rounded as Postgres rounds them.

    Raises:
        DataError: a number is too large for its column.
    """
    arrays = [
        _exact(batch.column(field.name), field)
        if field.name in batch.schema.names
        else pa.repeat(pa.scalar(bounds(period)[field.name], field.type), batch.num_rows)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _exact_type(field: pa.Field, column: Column) -> pa.DataType | None:
    numeric = _NUMERIC.fullmatch(column.type)
    if numeric and (pa.types.is_floating(field.type) or pa.types.is_decimal128(field.type)):
        return pa.decimal128(*map(int, numeric.groups()))
    return field.type if postgres_type(field) == column.type else None


def _exact(array: pa.Array, field: pa.Field) -> pa.Array:
    if array.type == field.type:
        return array
    digits = field.type.scale
    try:
        if pa.types.is_decimal(array.type):
            return _rounded(array, digits).cast(field.type)
        whole = _scaled(array, digits).cast(pa.decimal128(19, 0))
    except (pa.ArrowInvalid, OverflowError) as error:
        raise DataError(f"column {field.name!r}: {one_line(error)}") from None
    # The same digits, read with the point where the column has it.
    return pa.Array.from_buffers(field.type, len(whole), whole.buffers(), offset=whole.offset)


def _scaled(array: pa.Array, digits: int) -> pa.Int64Array:
    """Doubles as whole numbers of the last decimal place: of fifteen digits, half away from zero.

    It is computed in binary, and in decimal where that is too close to the middle to tell.
    """
    scaled = pc.call_function("multiply", [array, pa.scalar(10.0**digits)])
    size = pc.call_function("abs", [scaled])
    fraction = pc.call_function("subtract", [size, pc.call_function("floor", [size])])
    to_middle = pc.call_function("abs", [pc.call_function("subtract", [fraction, pa.scalar(0.5)])])
    doubt = pc.call_function("multiply", [size, pa.scalar(_DOUBT)])
    doubtful = pc.call_function("less_equal", [to_middle, doubt])
    if not doubtful.true_count:
        return _rounded(scaled, 0).cast(pa.int64())
    known = pc.call_function("if_else", [doubtful, pa.scalar(0.0), _rounded(scaled, 0)])
    exact = [_in_decimal(number, digits) for number in array.filter(doubtful).to_pylist()]
    mask = pc.call_function("coalesce", [doubtful, pa.scalar(value=False)])
    return pc.call_function(
        "replace_with_mask", [known.cast(pa.int64()), mask, pa.array(exact, pa.int64())]
    )


def _in_decimal(number: float, digits: int) -> int:
    return int(
        Decimal(f"{number:.15g}")
        .scaleb(digits, _CONTEXT)
        .to_integral_value(ROUND_HALF_UP, _CONTEXT)
    )


def _rounded(array: pa.Array, digits: int) -> pa.Array:
    options = pc.RoundOptions(digits, "half_towards_infinity")
    return pc.call_function("round", [array], options)
