"""Cast one column of Arrow to a type that staging has, with nothing rounded.

Shares and prices keep the type the source gave them, and become NUMERIC in Postgres, once.
"""

import re
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.errors import DataError, one_line


class LogicalType(StrEnum):
    """What the values of a column are; the text of a member says it to a person."""

    TEXT = "text in UTF-8"
    DATE = "a date of the years 1 to 9999"
    WHOLE = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    INSTANT = "a point in time of the years 1 to 9999"


_NUMBERS = frozenset({"INTEGER", "FLOAT", "NUMERIC", "BIGNUMERIC", "STRING"})
ACCEPTED = {
    LogicalType.TEXT: frozenset({"STRING"}),
    LogicalType.DATE: frozenset({"TIMESTAMP", "DATE", "DATETIME"}),
    LogicalType.WHOLE: _NUMBERS,
    LogicalType.NUMBER: _NUMBERS,
    LogicalType.FLAG: frozenset({"BOOLEAN", "BOOL"}),
    LogicalType.INSTANT: frozenset({"TIMESTAMP"}),
}
"""The BigQuery types that can be cast to each."""

_LOGICAL_TYPES = {
    "date": LogicalType.DATE,
    "smallint": LogicalType.WHOLE,
    "integer": LogicalType.WHOLE,
    "bigint": LogicalType.WHOLE,
    "numeric": LogicalType.NUMBER,
    "real": LogicalType.NUMBER,
    "double precision": LogicalType.NUMBER,
    "boolean": LogicalType.FLAG,
    "timestamp with time zone": LogicalType.INSTANT,
}
_ARROW_TYPES = {
    LogicalType.TEXT: pa.string(),
    LogicalType.DATE: pa.date32(),
    LogicalType.WHOLE: pa.int64(),
    LogicalType.NUMBER: pa.float64(),
    LogicalType.FLAG: pa.bool_(),
    LogicalType.INSTANT: pa.timestamp("us", "UTC"),
}
_INT64 = 2**63
TEXT_OF = {
    # So pandas writes the whole numbers of a column with a null: 200.0.
    LogicalType.WHOLE: "[+-]?[0-9]+([.]0*)?",
    LogicalType.NUMBER: "[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]+)?",
}
"""How a number is written in a text, as a regular expression; any other text is no number.

There may be blanks around it.
"""
_NO_FRACTION = "[.]0*$"
# What BigQuery's TRIM takes for a blank: Unicode's property White_Space. Python and Arrow take four
# control characters for blanks, too.
_WHITE_SPACE = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)


def logical_type(postgres_type: str) -> LogicalType:
    """Return how a column of a Postgres type is read; any unknown type is read as text."""
    return _LOGICAL_TYPES.get(postgres_type.partition("(")[0], LogicalType.TEXT)


def nulls(rows: int, postgres_type: str) -> pa.Array:
    """Return a column of nulls, in a type that staging has."""
    return pa.nulls(rows, _ARROW_TYPES[logical_type(postgres_type)])


def cast(array: pa.Array, postgres_type: str, title: str) -> pa.Array:
    """Cast one column to a type that staging has, every value of it.

        cast(pa.array([" 7", None]), "bigint", "Total Click Count")  # int64: 7, null

    Args:
        array: The values in the types of the source.
        postgres_type: The type of the column in Postgres.
        title: The column, as a message names it.

    Raises:
        DataError: a value cannot be cast.
    """
    type_ = logical_type(postgres_type)
    try:
        return _cast(array, type_)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"column {title!r} of the source holds a value that is not {type_}: {one_line(error)}"
        ) from None


def try_cast(array: pa.Array, postgres_type: str) -> tuple[pa.Array, pa.BooleanArray | None]:
    """Cast one column to a type that staging has; what cannot be cast becomes null.

    Returns:
        The column, and which of its values were lost; None where none was.
    """
    type_ = logical_type(postgres_type)
    # Nearly every batch can be cast as a whole, which is much faster than value by value.
    try:
        return _cast(array, type_), None
    except pa.ArrowInvalid:
        readable = _readable(array, type_)
    had_value = pc.call_function("is_valid", [array])
    lost = pc.call_function("and_not", [had_value, pc.call_function("is_valid", [readable])])
    return _cast(readable, type_), lost


def _cast(array: pa.Array, type_: LogicalType) -> pa.Array:
    match type_:
        case LogicalType.TEXT:
            # A block may hold bytes that are no UTF-8, which nothing after this expects.
            array.validate(full=True)
            return array.cast(pa.string())
        case LogicalType.DATE:
            # A time of day is dropped, in UTC.
            return _in_calendar(array.cast(pa.date32(), safe=False))
        case LogicalType.WHOLE:
            return _whole(_trimmed(array))
        case LogicalType.NUMBER:
            return _finite(_fraction(array))
        case LogicalType.FLAG:
            return array.cast(pa.bool_())
        case LogicalType.INSTANT:
            return _in_calendar(array.cast(pa.timestamp("us", "UTC")))


def _readable(array: pa.Array, type_: LogicalType) -> pa.Array:
    """Return the values that can be cast, null for the others; one by one, for the rare bad batch.

    Arrow raises for the first value that it cannot cast, and does not say which one that is.
    """
    if pa.types.is_string(array.type):
        texts = [_text(value) for value in array.cast(pa.binary()).to_pylist()]
        array = pa.array(texts, pa.string())
    if type_ is LogicalType.TEXT:
        return array
    if type_ in (LogicalType.DATE, LogicalType.INSTANT):
        return pc.call_function("if_else", [_is_in_calendar(array), array, pa.scalar(None)])
    return pa.array([_number(value, type_) for value in array.to_pylist()], array.type)


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _number(value: Any, type_: LogicalType) -> object:  # noqa: ANN401, whatever a column holds
    """Return a value that is a number of that type, null for others; texts as Arrow reads them."""
    is_text = isinstance(value, str)
    value = value.strip(_WHITE_SPACE) if is_text else value
    if value is None or (is_text and not re.fullmatch(TEXT_OF[type_], value)):
        return None
    if type_ is LogicalType.WHOLE:
        whole = Decimal(value)
        if not (whole.is_finite() and -_INT64 <= whole < _INT64 and whole == int(whole)):
            return None
        return str(int(whole)) if is_text else value
    number = float(value)
    if abs(number) == float("inf") or number != number:
        return None
    return repr(number) if is_text else value


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
    return pc.call_function("utf8_trim", [array], pc.TrimOptions(_WHITE_SPACE))


def _whole(array: pa.Array) -> pa.Array:
    if not pa.types.is_string(array.type):
        return array.cast(pa.int64())
    # Arrow would also read hexadecimal, which BigQuery's SAFE_CAST and sums do not.
    is_written = pc.MatchSubstringOptions(f"^{TEXT_OF[LogicalType.WHOLE]}$")
    if _has_false(pc.call_function("match_substring_regex", [array], is_written)):
        raise pa.ArrowInvalid("not only whole numbers")
    without_fraction = pc.ReplaceSubstringOptions(_NO_FRACTION, "")
    digits = pc.call_function("replace_substring_regex", [array], without_fraction)
    return digits.cast(pa.int64())


def _finite(array: pa.Array) -> pa.Array:
    # Postgres would store NaN in a NUMERIC column.
    if pa.types.is_floating(array.type) and _has_false(pc.call_function("is_finite", [array])):
        raise pa.ArrowInvalid("NaN or Infinity")
    return array


def _in_calendar(array: pa.Array) -> pa.Array:
    # Arrow counts days and microseconds far beyond the calendars of BigQuery and of Python.
    if _has_false(_is_in_calendar(array)):
        raise pa.ArrowInvalid("year out of range")
    return array


def _is_in_calendar(array: pa.Array) -> pa.BooleanArray:
    days = array.cast(pa.date32(), safe=False)
    from_first = pc.call_function("greater_equal", [days, pa.scalar(date.min)])
    to_last = pc.call_function("less_equal", [days, pa.scalar(date.max)])
    return pc.call_function("and", [from_first, to_last])


def _has_false(flags: pa.BooleanArray) -> bool:
    return flags.false_count > 0
