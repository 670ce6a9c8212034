"""Rows that break the contract, of every kind that a source could send, each with what is wrong."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa

from sqp_refresh.demo.year import SCHEMA
from sqp_refresh.model.tables import CHILD_ASIN_TITLE, DATE_TITLE, SOURCE_COLUMNS, TEXT
from sqp_refresh_tests.helpers.rows import Row, row

NUMBER = "Row"
"""A column that no contract speaks of: the number of a row, by which it is found again."""

_NUMBERS = [field.name for field in SCHEMA if not pa.types.is_string(field.type)]
_NUMBERS.remove(DATE_TITLE)
PRICES = [title for title in _NUMBERS if "Price" in title]
SHARES = {
    "ASIN Impression Share": ("ASIN Impression Count", "Total Query Impression Count"),
    "ASIN Click Share": ("ASIN Click Count", "Total Click Count"),
    "ASIN Cart Add Share": ("ASIN Cart Add Count", "Total Cart Add Count"),
    "ASIN Purchase Share": ("ASIN Purchase Count", "Total Purchase Count"),
}
RATES = [f"Total {stage} Rate" for stage in ("Click", "Cart Add", "Purchase")]
SHIPPING = {
    title: f"Total {title.rpartition('Shipping ')[2]}" for title in _NUMBERS if "Shipping" in title
}
COUNTS = [title for title in _NUMBERS if title.endswith(("Count", "Volume", "Score"))]
# Counts that no other rule speaks of.
ALONE = ["Search Query Volume", "Search Query Score"]
# Texts that need not look like an ASIN.
_FREE_TEXTS = [
    column.title
    for column in SOURCE_COLUMNS
    if column.type == TEXT and column.title != CHILD_ASIN_TITLE
]

DELIVERIES: dict[str, dict[str, pa.DataType]] = {
    "numbers": {},
    "floats": dict.fromkeys([*COUNTS, *PRICES], pa.float64()),
    "texts": dict.fromkeys(_NUMBERS, pa.string()),
}
"""How a vendor might type the numbers, each as the columns that differ from the usual schema."""

Spoiled = tuple[Row, set[str]]
"""What is put into a row, by title, and everything that is wrong with it then."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A way in which a row can be bad.

    Attributes:
        spoil: What to put into a good row, and the reasons that it is refused for then.
        deliveries: Those in which such a value can occur.
        in_bigquery: Whether BigQuery can hold it too.
    """

    spoil: Callable[[Row, Random], Spoiled]
    deliveries: tuple[str, ...] = tuple(DELIVERIES)
    in_bigquery: bool = True


def _any_of(titles: Sequence[str], values: Sequence[Any], what: str, **others: Any) -> Kind:
    """One of the values in one of the columns, and the one thing that is wrong then."""

    def spoil(_: Row, random: Random) -> Spoiled:
        title = random.choice(titles)
        return {title: random.choice(values)}, {f"{title} {what}"}

    return Kind(spoil, **others)


def _own_and_total(row: Row, random: Random) -> tuple[str, str, str, int]:
    share = random.choice(list(SHARES))
    own, total = SHARES[share]
    return share, own, total, row[total]


def _above_total(row: Row, random: Random) -> Spoiled:
    share, own, title, total = _own_and_total(row, random)
    changes = {own: total + random.randint(1, 10**6), share: None}
    return changes, {f"{own} is above {title}"}


def _negative(row: Row, random: Random) -> Spoiled:
    share, own, _, _ = _own_and_total(row, random)
    title = random.choice([own, *SHIPPING, *ALONE])
    least = 1 if title.endswith("Score") else 0
    changes = {title: -random.randint(1, 10**9), share: None}
    return changes, {f"{title} is not between {least} and 10^12"}


def _off(row: Row, random: Random) -> Spoiled:
    share, own, title, total = _own_and_total(row, random)
    off = 100 * row[own] / total + random.uniform(0.0101, 40)
    return {share: off}, {f"{share} is not 100 * {own} / {title}"}


def _fraction(row: Row, random: Random) -> Spoiled:
    share, own, title, total = _own_and_total(row, random)
    return {share: row[own] / total}, {f"{share} is not 100 * {own} / {title}"}


def _out_of_range(row: Row, random: Random) -> Spoiled:
    share, own, title, _ = _own_and_total(row, random)
    wrong = random.choice([-0.1, -50.0, 100.5, 1234.0])
    reasons = {
        f"{share} is not between 0 and 100",
        f"{share} is not 100 * {own} / {title}",
    }
    return {share: wrong}, reasons


def _of_nothing(row: Row, random: Random) -> Spoiled:
    share, own, title, _ = _own_and_total(row, random)
    shipped = [speed for speed, total in SHIPPING.items() if total == title]
    changes = {own: 0, title: 0, share: random.uniform(0.01, 100), **dict.fromkeys(shipped, 0)}
    return changes, {f"{share} is a share of nothing, because {title} is 0"}


def _shipping(row: Row, random: Random) -> Spoiled:
    speed, total = random.choice(list(SHIPPING.items()))
    changes = {speed: row[total] + random.randint(1, 1000)}
    return changes, {f"the shipping counts under {total} exceed it"}


def _rate_too_great(_: Row, random: Random) -> Spoiled:
    """More clicks than can be held for one impression, or cart adds or purchases for one click."""
    before, stage = random.choice(
        [("Impression", "Click"), ("Click", "Cart Add"), ("Click", "Purchase")]
    )
    of_market = f"Total {'Query ' if before == 'Impression' else ''}{before} Count"
    units = random.randint(1, 4)
    more = units * random.choice([10_000, 20_000, 10**9])
    own = {f"ASIN {before} Count": units, f"ASIN {stage} Count": more}
    total = {"Total Query Impression Count": 10**11, of_market: 10**11}
    total[f"Total {stage} Count"] = more
    shares = dict.fromkeys(("ASIN Impression Share", f"ASIN {before} Share", f"ASIN {stage} Share"))
    if random.random() < 0.5:
        reason = f"100 * ASIN {stage} Count / ASIN {before} Count"
    else:
        own = {f"ASIN {before} Count": 0, f"ASIN {stage} Count": 0}
        total[of_market] = units
        shares |= {speed: 0 for speed, whole in SHIPPING.items() if whole == of_market}
        reason = f"100 * Total {stage} Count / {of_market}"
    return own | total | shares, {f"{reason} does not fit into numeric(10,4)"}


def _title_as_asin(_: Row, random: Random) -> Spoiled:
    title = random.choice([column.title for column in SOURCE_COLUMNS])
    return {CHILD_ASIN_TITLE: title}, {
        f"{CHILD_ASIN_TITLE} is the name of a column",
        f"{CHILD_ASIN_TITLE} is not ten capital letters and digits",
    }


def _no_asin(_: Row, random: Random) -> Spoiled:
    return {CHILD_ASIN_TITLE: None, "Parent ASIN": None}, {f"{CHILD_ASIN_TITLE} is missing"}


def _several(_: Row, random: Random) -> Spoiled:
    return {"Search Query": None, "Marketplace": "", "Search Query Score": 0}, {
        "Search Query is missing",
        "Marketplace is empty",
        "Search Query Score is not between 1 and 10^12",
    }


def _microseconds(days: int) -> int:
    return days * 86_400 * 10**6


_TITLES = [column.title for column in SOURCE_COLUMNS]
_NO_UTF8 = [b"\xed\xa0\x80", b"blue \xed\xbf\xbf widget", b"\xff\xfe", b"caf\xe9", b"\xc3"]
_NO_WHOLE = [
    *("12,5", "", "n/a", "0x10", "1e3", "1.5", "--1", "1 2", "٣", "1_000", "9" * 30, "½"),
    *("1,000", "2.50", ".0", "1.0.0", "0x10.0", "NaN", "Infinity", "9" * 30 + ".0"),
]
_NO_NUMBER = ["12,5", "", "$3", "NaN", "Infinity", "-inf", "1e400", "0x1p3", "1.2.3", "none", "e5"]
_ODD = [float("nan"), float("inf"), float("-inf")]
_NUMERIC = ("numbers", "floats")

KINDS: dict[str, Kind] = {
    "a NUL byte": _any_of(
        _FREE_TEXTS,
        ["a\0b", "\0", "blue\0"],
        "holds a NUL byte",
    ),
    "a lone surrogate, or other bytes": _any_of(
        _FREE_TEXTS,
        _NO_UTF8,
        "is not text in UTF-8",
        in_bigquery=False,
    ),
    "an ASIN of bytes": _any_of(
        [CHILD_ASIN_TITLE], [b"B00000\xff001"], "is not text in UTF-8", in_bigquery=False
    ),
    "an ASIN of another length": _any_of(
        [CHILD_ASIN_TITLE],
        ["B0000000001", "B00000001", "B" * 300],
        "is not ten capital letters and digits",
    ),
    "an ASIN of other letters": _any_of(
        [CHILD_ASIN_TITLE],
        ["b000000001", "B00000000\n", "B00 000001", "B00000000é"],
        "is not ten capital letters and digits",
    ),
    "a column's name as ASIN": Kind(_title_as_asin),
    "a column's name as text": _any_of(
        _FREE_TEXTS,
        _TITLES,
        "is the name of a column",
    ),
    "a key without its text": _any_of(["Marketplace", "Search Query"], [None], "is missing"),
    "a key without its ASIN": Kind(_no_asin),
    "an empty key": _any_of(["Marketplace", "Search Query"], [""], "is empty"),
    "a key of white space": _any_of(["Marketplace", "Search Query"], [" ", "\t \r\n"], "is empty"),
    "a huge text": _any_of(
        ["Marketplace", "Search Query"],
        ["x" * 801, "blue widget " * 1000, "é" * 401, "鞋" * 300],
        "is longer than the 800 bytes that a key has room for",
    ),
    "no date": _any_of([DATE_TITLE], [None], "is missing", in_bigquery=False),
    "a date before year 1": _any_of(
        [DATE_TITLE],
        [_microseconds(-719_163), _microseconds(-5_000_000), -(2**63)],
        "is not a date of the years 1 to 9999",
        in_bigquery=False,
    ),
    "a date after 9999": _any_of(
        [DATE_TITLE],
        [_microseconds(2_932_897), _microseconds(100_000_000), 2**63 - 1],
        "is not a date of the years 1 to 9999",
        in_bigquery=False,
    ),
    "a negative count": Kind(_negative),
    "a score of 0": _any_of(["Search Query Score"], [0], "is not between 1 and 10^12"),
    "a count of the size of a fingerprint": _any_of(
        ["Search Query Volume"],
        [10**12 + 1, 10**15, 2**53, 2**62],
        "is not between 0 and 10^12",
    ),
    "an own count above the market's": Kind(_above_total),
    "a share that is off": Kind(_off),
    "a share as a fraction": Kind(_fraction),
    "a share out of range": Kind(_out_of_range),
    "a share of nothing": Kind(_of_nothing),
    "more shipped than sold": Kind(_shipping),
    "a rate of its counts that no column has room for": Kind(_rate_too_great),
    "a price of 0": _any_of(PRICES, [Decimal(0), Decimal("0.001")], "is not above 0"),
    "a negative price": _any_of(PRICES, [Decimal("-0.01"), Decimal(-(10**6))], "is not above 0"),
    "a price that Postgres has no room for": _any_of(
        PRICES,
        [Decimal(10**10), Decimal("9999999999.995"), Decimal(10**28)],
        "does not fit into numeric(12,2)",
    ),
    "a rate that Postgres has no room for": _any_of(
        RATES, [1e30, -1e30, 1e6, 1e308], "does not fit into numeric(10,4)"
    ),
    "a count of part of something": _any_of(
        COUNTS, [0.5, 2.25, -1.5], "is not a whole number", deliveries=("floats", "texts")
    ),
    "a count that is no number": _any_of(
        COUNTS, [*_ODD, 1e30], "is not a whole number", deliveries=("floats", "texts")
    ),
    "a measure that is no number": _any_of([*SHARES, *RATES], _ODD, "is not a number"),
    "a price that is no number": _any_of(
        PRICES, _ODD, "is not a number", deliveries=("floats", "texts")
    ),
    "a count in other words": _any_of(
        COUNTS, _NO_WHOLE, "is not a whole number", deliveries=("texts",)
    ),
    "a measure in other words": _any_of(
        [*SHARES, *RATES, *PRICES], _NO_NUMBER, "is not a number", deliveries=("texts",)
    ),
    "several things at once": Kind(_several),
}


def good_row(number: int, random: Random, **changes: Any) -> Row:
    """A row as Amazon might report it, with its number; each has a key of its own."""
    total = random.randint(1, 50_000)
    own = random.randint(0, total)
    clicks = random.choice([(0, 0), (11, 0), (542, 5), (12, 12)])
    usual = {
        "asin": f"B{number:09}",
        "query": f"widget {number}",
        "volume": random.randint(1, 9000),
        "impressions": (total, own),
        "clicks": clicks,
        "cart_adds": random.choice([(11, 0), (7, 3)]),
        "score": random.randint(1, 100),
        "price": random.choice(["0.005", "24.99", "9999999999.99"]),
    }
    return {NUMBER: number} | row(**(usual | changes))


def bad_row(kind: str, number: int, random: Random, day: date) -> Spoiled:
    """A row of a kind, and everything that is wrong with it."""
    fitting = {"clicks": (542, 5), "cart_adds": (40, 3), "impressions": (20_110, 230)}
    made = good_row(number, random, day=day, **fitting)
    changes, reasons = KINDS[kind].spoil(made, random)
    return made | changes, reasons


def kinds_of(delivery: str, *, in_bigquery: bool = False) -> list[str]:
    """The kinds that can occur in a delivery, and in BigQuery where that is asked for."""
    return [
        name
        for name, kind in KINDS.items()
        if delivery in kind.deliveries and (kind.in_bigquery or not in_bigquery)
    ]


def delivered(rows: Iterable[Row], delivery: str) -> pa.RecordBatch:
    """Rows as Arrow, bytes that are no text and days that are in no calendar included."""
    made = list(rows)
    types = {field.name: field.type for field in SCHEMA} | DELIVERIES[delivery]
    types[NUMBER] = pa.int64()
    columns = {
        title: _column([row[title] for row in made], type_) for title, type_ in types.items()
    }
    return pa.RecordBatch.from_pydict(columns)


def _column(values: list[Any], type_: pa.DataType) -> pa.Array:
    if pa.types.is_string(type_):
        return pa.array(list(map(_bytes, values)), pa.binary()).view(type_)
    if pa.types.is_timestamp(type_):
        return pa.array(list(map(_instant, values)), pa.int64()).view(type_)
    convert = {pa.int64(): int, pa.float64(): float}.get(type_, Decimal)
    return pa.array([None if value is None else convert(value) for value in values], type_)


def _bytes(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return str(value).encode()


def _instant(value: date | int | None) -> int | None:
    if value is None or isinstance(value, int):
        return value
    midnight = datetime(value.year, value.month, value.day, tzinfo=UTC)
    return int(midnight.timestamp()) * 10**6
