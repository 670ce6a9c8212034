"""The row contract: what every row of a source must keep before it may reach a table.

A rule is one line of SQL in words that BigQuery and Polars share, so that the rows which land and
the sums which BigQuery computes are judged by the same text. A rule that is null for a row, because
a value in it is, does not speak of that row. Where the rules come from: Amazon's report schema,
real rows of the report, and the widths of the columns in Postgres.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqp_refresh.model.tables import SHARES, STAGES, TEXT, SourceColumn, SourceSpec

SHARE_TOLERANCE = 0.01
"""Percentage points that a share may be off; Amazon rounds to two decimals, half away from zero."""

MOST = 10**12
"""A count above it is no count of anything, and the sum of millions of such would overflow."""

# An entry of a B-tree holds 2,704 bytes, the dates and the other columns of a key among them.
_KEY_BYTES = 2400
_INTEGERS = {"smallint": 2**15, "integer": 2**31}
# As many digits as survive in floating point, and in Postgres's cast of it.
_DIGITS = 14
_HAS_INK = r"[^ \t\r\n]"


@dataclass(frozen=True, slots=True)
class Rule:
    """What every row keeps.

    Attributes:
        reason: What is wrong with a row that does not, in the source's own column titles.
        sql: True, or null, for a row that does, over the names that the columns get here.
        is_implied: Whether a row that does not breaks another rule, too: such a rule tells what is
            wrong, and decides nothing.
        is_of_nul: Whether only a row with a NUL byte in a text can break it.
    """

    reason: str
    sql: str
    is_implied: bool = False
    is_of_nul: bool = False


def contract_of(spec: SourceSpec) -> tuple[Rule, ...]:
    """The rules for the rows of a source: those of the vendor's report, or of a registered table.

    That each value can be read as what its column is comes before all of them.
    """
    if not spec.is_vendor_report:
        return (*_key_is_there(spec), *_texts_are_texts(spec), *_values_fit(spec))
    return (
        *_key_is_there(spec),
        *_texts_are_texts(spec),
        *_figures_are_amazons(spec),
        *_values_fit(spec),
    )


def decisive_rules(spec: SourceSpec) -> tuple[Rule, ...]:
    """Those rules for the rows of a source that tell whether a row keeps its contract."""
    return tuple(rule for rule in contract_of(spec) if not rule.is_implied)


def _key_is_there(spec: SourceSpec) -> Iterator[Rule]:
    keys = [column for column in spec.columns if column.name in spec.key]
    texts = [column for column in keys if _is_text(column)]
    for column in spec.columns:
        if column in keys or column.title == spec.week_title:
            yield Rule(f"{column.title} is missing", f"`{column.name}` IS NOT NULL")
    for column in texts:
        # A registered table may well have an empty text in its key.
        if spec.is_vendor_report:
            inked = f"REGEXP_LIKE(`{column.name}`, '{_HAS_INK}')"
            yield Rule(f"{column.title} is empty", inked, _is_asin(spec, column))
        room = _KEY_BYTES // len(texts)
        yield Rule(
            f"{column.title} is longer than the {room} bytes that a key has room for",
            f"OCTET_LENGTH(`{column.name}`) <= {room}",
            _is_asin(spec, column),
        )


def _texts_are_texts(spec: SourceSpec) -> Iterator[Rule]:
    for column in filter(_is_text, spec.columns):
        # Postgres stores no NUL byte.
        yield Rule(
            f"{column.title} holds a NUL byte",
            rf"NOT REGEXP_LIKE(`{column.name}`, '\x00')",
            _is_asin(spec, column),
            is_of_nul=True,
        )
        # In BigQuery a title in double quotes is a text, which once filled a whole table.
        titles = [other.title for other in spec.columns if spec.is_vendor_report or other is column]
        plain = [f"'{title}'" for title in titles if title.replace(" ", "").isalnum()]
        if plain:
            yield Rule(
                f"{column.title} is the name of a column",
                f"`{column.name}` NOT IN ({', '.join(plain)})",
                _is_asin(spec, column),
            )


def _figures_are_amazons(spec: SourceSpec) -> Iterator[Rule]:
    """What holds for the figures of every seller and every week."""
    title = {column.name: column.title for column in spec.columns}
    yield Rule(
        f"{title['asin']} is not ten capital letters and digits",
        "REGEXP_LIKE(`asin`, '^[A-Z0-9]{10}$')",
    )
    for name in title:
        if name.endswith(("_count", "_volume", "_score")):
            least = 1 if name.endswith("_score") else 0
            yield Rule(
                f"{title[name]} is not between {least} and 10^12",
                f"`{name}` BETWEEN {least} AND {MOST}",
            )
        if name.endswith("_price"):
            # Half a cent is the least that is not rounded to nothing.
            yield Rule(f"{title[name]} is not above 0", f"`{name}` >= 0.005")
    for share, (own, total) in SHARES.items():
        yield from _share(title, share, own, total)
    for stage in STAGES.values():
        total = f"total_{stage}_count"
        speeds = (f"total_{speed}_day_shipping_{stage}_count" for speed in ("same", "one", "two"))
        # As floating point, which a sum of impossible counts cannot overflow.
        fast = " + ".join(f"1e0 * COALESCE(`{speed}`, 0)" for speed in speeds)
        yield Rule(f"the shipping counts under {title[total]} exceed it", f"{fast} <= `{total}`")


def _share(title: dict[str, str], share: str, own: str, total: str) -> Iterator[Rule]:
    yield Rule(f"{title[own]} is above {title[total]}", f"`{own}` <= `{total}`")
    yield Rule(f"{title[share]} is not between 0 and 100", f"`{share}` BETWEEN 0 AND 100")
    yield Rule(
        f"{title[share]} is not 100 * {title[own]} / {title[total]}",
        f"ABS(`{share}` - 1e2 * `{own}` / NULLIF(`{total}`, 0)) <= {SHARE_TOLERANCE} + 1e-9",
    )
    yield Rule(
        f"{title[share]} is a share of nothing, because {title[total]} is 0",
        f"`{total}` <> 0 OR COALESCE(`{share}`, 0) = 0",
    )


def _values_fit(spec: SourceSpec) -> Iterator[Rule]:
    """What Postgres would refuse, and with it the whole week."""
    for column in spec.columns:
        if fits := _fits(f"`{column.name}`", column.type):
            # A share is a percentage.
            is_implied = spec.is_vendor_report and column.name in SHARES
            yield Rule(f"{column.title} does not fit into {column.type}", fits, is_implied)


def _fits(name: str, type_: str) -> str | None:
    base = type_.partition("(")[0]
    sizes = [int(size) for size in re.findall(r"-?\d+", type_)]
    if base == "numeric" and sizes:
        scale = sum(sizes[1:])
        nines = min(sizes[0], _DIGITS)
        most = f"{'9' * nines}e{sizes[0] - nines - scale}"
        return f"{name} BETWEEN -{most} AND {most}"
    if base in _INTEGERS:
        return f"{name} BETWEEN {-_INTEGERS[base]} AND {_INTEGERS[base] - 1}"
    if base.startswith("character") and sizes:
        return f"LENGTH({name}) <= {sizes[0]}"
    if base == "real":
        return f"{name} = 0 OR ABS({name}) BETWEEN 1.2e-38 AND 3.4e38"
    return None


def _is_asin(spec: SourceSpec, column: SourceColumn) -> bool:
    """Whether it is the vendor's ASIN: ten capital letters and digits say more than any text."""
    return spec.is_vendor_report and column.name == "asin"


def _is_text(column: SourceColumn) -> bool:
    return column.type == TEXT or column.type.startswith("character")
