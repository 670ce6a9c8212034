"""One column of Arrow into a type that staging has, without rounding anything.

Shares and prices keep the type the source gave them, and become NUMERIC in Postgres, once.
"""

from enum import StrEnum

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.errors import DataError, one_line


class Reading(StrEnum):
    """What a column is read as; the value says it to a person."""

    TEXT = "a text"
    DATE = "a date"
    WHOLE = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    INSTANT = "a point in time"


_NUMBERS = frozenset({"INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC", "STRING"})
ACCEPTED = {
    Reading.TEXT: frozenset({"STRING"}),
    Reading.DATE: frozenset({"TIMESTAMP", "DATE", "DATETIME"}),
    Reading.WHOLE: _NUMBERS,
    Reading.NUMBER: _NUMBERS,
    Reading.FLAG: frozenset({"BOOLEAN", "BOOL"}),
    Reading.INSTANT: frozenset({"TIMESTAMP"}),
}
"""The BigQuery types that convert."""

_READINGS = {
    "date": Reading.DATE,
    "smallint": Reading.WHOLE,
    "integer": Reading.WHOLE,
    "bigint": Reading.WHOLE,
    "numeric": Reading.NUMBER,
    "real": Reading.NUMBER,
    "double precision": Reading.NUMBER,
    "boolean": Reading.FLAG,
    "timestamp with time zone": Reading.INSTANT,
}


def reading(postgres_type: str) -> Reading:
    """How a column of this Postgres type is read; any other type is read as text."""
    return _READINGS.get(postgres_type.partition("(")[0], Reading.TEXT)


def convert(array: pa.Array, postgres_type: str, title: str) -> pa.Array:
    """One column in a type that staging has.

    Raises:
        DataError: a value cannot be read as what the column is; it is named.
    """
    wanted = reading(postgres_type)
    try:
        match wanted:
            case Reading.TEXT:
                return array.cast(pa.string())
            case Reading.DATE:
                return array.cast(pa.date32(), safe=False)  # a time of day is dropped, in UTC
            case Reading.WHOLE:
                return _trimmed(array).cast(pa.int64())
            case Reading.NUMBER:
                return _finite(_fraction(array))
            case Reading.FLAG:
                return array.cast(pa.bool_())
            case Reading.INSTANT:
                return array.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {title!r} of the source holds a value that is not {wanted}: {one_line(error)}"
        ) from None


def _fraction(array: pa.Array) -> pa.Array:
    if pa.types.is_string(array.type):
        # Fifteen digits survive, far more than a share or a price has.
        return _trimmed(array).cast(pa.float64())
    if pa.types.is_decimal256(array.type):
        return array.cast(pa.string())
    return array


def _trimmed(array: pa.Array) -> pa.Array:
    if not pa.types.is_string(array.type):
        return array
    return pc.call_function("utf8_trim_whitespace", [array])


def _finite(array: pa.Array) -> pa.Array:
    # Postgres would store NaN in a NUMERIC column.
    if pa.types.is_floating(array.type) and _has_false(pc.call_function("is_finite", [array])):
        raise pa.ArrowInvalid("NaN or Infinity")
    return array


def _has_false(flags: pa.BooleanArray) -> bool:
    return flags.false_count > 0
