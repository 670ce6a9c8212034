"""Arrow decimals in the form in which Postgres sends and receives a numeric.

That form, by `numeric_send` in the server's source: how many digits to the base of 10,000 there
are, the power of it that the first of them stands for, the sign, the decimal places that are shown,
and the digits; two bytes each.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

_BASE, _PLACES = 10_000, 4
"""Of the digits, and how many decimal places each stands for."""
_NEGATIVE = 0x4000
INT64_DIGITS = 18
"""Of any whole number that has 64 bits to itself."""
_BITS, _LIMB = np.uint64(32), np.uint64(0xFFFF_FFFF)
"""Of the parts in which a longer number is divided by hand."""


def numerics(column: pa.Array) -> np.ndarray:
    """Encode each decimal as a row of two-byte words; what stands where one is null means nothing.

    Args:
        column: Of any decimal128.
    """
    precision, scale = column.type.precision, column.type.scale
    before, behind = -(-(precision - scale) // _PLACES), -(-scale // _PLACES)
    more = behind * _PLACES - scale
    halves = np.frombuffer(column.buffers()[1], np.int64).reshape(-1, 2)
    halves = halves[column.offset : column.offset + len(column)]
    digits = _digits if precision + more <= INT64_DIGITS else _digits_of_long
    words = np.empty((len(column), 4 + before + behind), ">i2")
    words[:, 0] = before + behind
    words[:, 1] = before - 1
    words[:, 2] = np.where(halves[:, 1] < 0, _NEGATIVE, 0)
    words[:, 3] = scale
    for place, digit in enumerate(digits(halves, 10**more, before + behind)):
        words[:, -1 - place] = digit
    return words


def _digits(halves: np.ndarray, times: int, count: int) -> Iterator[np.ndarray]:
    """Return the digits of numbers that fit into 64 bits, multiplied; the last digit first.

    Args:
        halves: The lower and the upper 64 bits of each number.
        times: The power of ten that aligns the decimal point with the base of 10,000.
        count: How many digits to the base of 10,000 there are.
    """
    rest = np.abs(halves[:, 0]) * times
    for _ in range(count):
        whole = rest // _BASE
        yield rest - whole * _BASE
        rest = whole


def _digits_of_long(halves: np.ndarray, times: int, count: int) -> Iterator[np.ndarray]:
    """Do the same for numbers of 128 bits, by long multiplication and division.

    NumPy has no integer of 128 bits, so a number is five limbs of 32 bits: a product of two limbs,
    and a remainder with a limb behind it, both fit into 64 bits.
    """
    limbs = _limbs(halves)
    carried = np.zeros(len(halves), np.uint64)
    for limb in limbs:
        carried += limb * np.uint64(times)
        limb[:] = carried & _LIMB
        carried >>= _BITS
    for _ in range(count):
        rest = np.zeros(len(halves), np.uint64)
        for limb in reversed(limbs):
            rest = rest << _BITS | limb
            limb[:] = rest // np.uint64(_BASE)
            rest -= limb * np.uint64(_BASE)
        yield rest


def _limbs(halves: np.ndarray) -> list[np.ndarray]:
    """Return the absolute values in limbs of 32 bits, the lowest first, and one to carry into."""
    is_negative = halves[:, 1] < 0
    low, high = (np.ascontiguousarray(half).view(np.uint64) for half in halves.T)
    high = np.where(is_negative, ~high + (low == 0), high)
    low = np.where(is_negative, ~low + np.uint64(1), low)
    return [low & _LIMB, low >> _BITS, high & _LIMB, high >> _BITS, np.zeros_like(low)]
