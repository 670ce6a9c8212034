"""Define what a certificate says of each column of a period: how many nulls it has, and a sum.

Both sides compute the same number of a value, BigQuery and Postgres each in its own SQL:

    text       the first 32 bits of the MD5 of its UTF-8
    number     the number, rounded half away from zero as the column rounds it
    date       days since 1970
    timestamp  microseconds since 1970
    boolean    1 for true

Of floating point no sum is exact, and of other types Postgres alone knows what they are: of those
columns only nulls are counted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum, auto
from typing import Any

DECIMAL_DIGITS = 15
"""Digits of a number that survive in floating point; of longer ones no sum is certified."""

_DECIMAL = re.compile(r"numeric\((\d+),(\d+)\)")


class Summed(Enum):
    """What is added up of a column."""

    TEXT = auto()
    DATE = auto()
    WHOLE = auto()
    DECIMAL = auto()
    FLAG = auto()
    INSTANT = auto()
    NOTHING = auto()


_SUMMED = {
    "text": Summed.TEXT,
    "character varying": Summed.TEXT,
    "date": Summed.DATE,
    "smallint": Summed.WHOLE,
    "integer": Summed.WHOLE,
    "bigint": Summed.WHOLE,
    "boolean": Summed.FLAG,
    "timestamp with time zone": Summed.INSTANT,
}


def summed_as(postgres_type: str) -> Summed:
    """Return what is added up of a column of a Postgres type."""
    if decimal := _DECIMAL.fullmatch(postgres_type):
        return Summed.DECIMAL if int(decimal[1]) <= DECIMAL_DIGITS else Summed.NOTHING
    return _SUMMED.get(postgres_type.partition("(")[0], Summed.NOTHING)


def scale_of(postgres_type: str) -> int:
    """Return the decimal places of a column; 0 for whatever is no decimal number."""
    decimal = _DECIMAL.fullmatch(postgres_type)
    return int(decimal[2]) if decimal else 0


@dataclass(frozen=True, slots=True)
class ColumnSum:
    """What one side says of one column of a period.

    Attributes:
        nulls: Rows in which it is null (count); None where that is not compared.
        total: The sum over the rows in which it is not; None where none is certified.
        least: The least that the sum may be, where floating point leaves open how some numbers next
            to the middle between two are rounded; None where there is no such number.
    """

    nulls: int | None
    total: Decimal | None
    least: Decimal | None = None

    def allows(self, other: "ColumnSum | None") -> bool:
        """Return whether a table that holds this other sum agrees with this side, its source."""
        if other is None or (self.nulls is not None and self.nulls != other.nulls):
            return False
        if self.total is None:
            return True
        least = self.total if self.least is None else self.least
        return other.total is not None and least <= other.total <= self.total

    def to_json(self) -> dict[str, Any]:
        """Return what a certificate keeps; sums are texts, which no program rounds."""
        numbers = {"sum": self.total, "least": self.least}
        texts = {name: f"{number:f}" for name, number in numbers.items() if number is not None}
        return ({} if self.nulls is None else {"nulls": self.nulls}) | texts

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "ColumnSum":
        """Read what `to_json` made."""
        total, least = (
            None if text is None else Decimal(text)
            for text in (value.get("sum"), value.get("least"))
        )
        return cls(value.get("nulls"), total, least)


ColumnSums = Mapping[str, ColumnSum]
"""What one side says of a period, by column."""


def columns_that_differ(source: ColumnSums, target: ColumnSums) -> list[str]:
    """Name the columns of which a table holds something else than its source says."""
    return [name for name, of_source in source.items() if not of_source.allows(target.get(name))]


def to_json(sums: ColumnSums) -> dict[str, Any]:
    """Return what a certificate keeps of one side."""
    return {name: of_column.to_json() for name, of_column in sums.items()}


def from_json(value: Mapping[str, Any]) -> dict[str, ColumnSum]:
    """Read what `to_json` made."""
    return {name: ColumnSum.from_json(of_column) for name, of_column in value.items()}
