"""Define the row contract: what every row of a source must keep before it may reach a table.

A rule is one line of SQL that BigQuery and Polars both understand, so that the rows which are
loaded and the sums which BigQuery computes are held against the same text. A rule that is null for
a row, because a value in it is, does not apply to that row. The rules come from Amazon's report
schema, from real rows of the report, and from the widths of the columns in Postgres.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sqp_refresh.model.tables import SHARES, STAGES, TABLES, TEXT, SourceColumn, SourceSpec

SHARE_TOLERANCE = 0.01
"""Percentage points that a share may be off; Amazon rounds to two decimals, half away from zero."""

MOST = 10**12
"""The greatest count that is believed; the sum of millions of greater ones would overflow."""

# An entry of a B-tree holds 2,704 bytes, the dates and the other columns of a key among them.
_KEY_BYTES = 2400
_INTEGERS = {"smallint": 2**15, "integer": 2**31}
# As many digits as survive in floating point, and in Postgres's cast of it.
_DIGITS = 14
BLANKS = " \t\r\n"
"""A text of nothing but these is empty."""

NON_BLANK = r"[^ \t\r\n]"
"""What a text holds that is not empty, as a regular expression."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition that every row keeps.

    Attributes:
        reason: What is wrong with a row that breaks it, in the source's own column titles.
        sql: True, or null, for a row that keeps it, over the names that the columns get here.
        is_implied: Whether a row that breaks it breaks another rule, too: such a rule says what is
            wrong, and decides nothing.
        is_of_nul: Whether only a row with a NUL byte in a text can break it.
    """

    reason: str
    sql: str
    is_implied: bool = False
    is_of_nul: bool = False


def contract_of(spec: SourceSpec) -> tuple[Rule, ...]:
    """Return the rules for the rows of a source: the vendor's report, or a registered table.

        contract_of(SQP_REPORT)[0]
        # Rule("Marketplace is missing", "`marketplace` IS NOT NULL")

    They are about rows whose values were all cast to the types of their columns.
    """
    figures = _figures_are_amazons(spec) if spec.is_vendor_report else ()
    return (*_key_is_present(spec), *_texts_are_texts(spec), *figures, *_values_fit(spec))


def decisive_rules(spec: SourceSpec) -> tuple[Rule, ...]:
    """Return those rules that decide whether a row keeps its contract."""
    return tuple(rule for rule in contract_of(spec) if not rule.is_implied)


def titles_in_sql(spec: SourceSpec, *columns: SourceColumn) -> str:
    """Return the titles that no text may equal, of all columns or of some, as a list of texts."""
    titles = (column.title for column in columns or spec.columns)
    return ", ".join(f"'{title}'" for title in titles if title.replace(" ", "").isalnum())


def _key_is_present(spec: SourceSpec) -> Iterator[Rule]:
    keys = [column for column in spec.columns if column.name in spec.key]
    texts = [column for column in keys if _is_text(column)]
    for column in spec.columns:
        if column in keys or column.title == spec.week_title:
            yield Rule(f"{column.title} is missing", f"`{column.name}` IS NOT NULL")
    for column in texts:
        # A registered table may well have an empty text in its key.
        if spec.is_vendor_report:
            is_written = f"REGEXP_LIKE(`{column.name}`, '{NON_BLANK}')"
            yield Rule(f"{column.title} is empty", is_written, _is_asin(spec, column))
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
        titles = titles_in_sql(spec) if spec.is_vendor_report else titles_in_sql(spec, column)
        if titles:
            yield Rule(
                f"{column.title} is the name of a column",
                f"`{column.name}` NOT IN ({titles})",
                _is_asin(spec, column),
            )


def _figures_are_amazons(spec: SourceSpec) -> Iterator[Rule]:
    """Return what holds for the figures of every seller and every week."""
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
    yield from _ratios(title)


def _share(title: dict[str, str], share: str, own: str, total: str) -> Iterator[Rule]:
    """Return what holds for one share and the two counts that it is computed from."""
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


def _ratios(title: dict[str, str]) -> Iterator[Rule]:
    """Return what a row must keep so that a table has room for the ratios that it is made of.

    A ratio of sums is never above the greatest of its rows', as long as each row has both counts.
    Shares have rules of their own, by which they are never above 100.
    """
    ratios = {
        (*(table.sums.get(count, count) for count in counts), column.type): None
        for table in TABLES.values()
        for column in table.values
        if (counts := table.ratios.get(column.name))
    }
    market = dict(SHARES.values())
    for dividend, divisor, type_ in ratios:
        is_share = market.get(dividend) == divisor
        most = _greatest(type_)
        if most is None or is_share or not {dividend, divisor} <= title.keys():
            continue
        fits = f"1e2 * `{dividend}` / NULLIF(`{divisor}`, 0) <= {most}"
        if dividend in market:
            # Of an own count above the market's, that is what is wrong.
            fits += f" OR COALESCE(`{dividend}` > `{market[dividend]}`, FALSE)"
        name = f"100 * {title[dividend]} / {title[divisor]}"
        yield Rule(f"{name} does not fit into {type_}", fits)


def _values_fit(spec: SourceSpec) -> Iterator[Rule]:
    """Return what Postgres would refuse otherwise, and with it the whole week."""
    for column in spec.columns:
        if fits := _fits(f"`{column.name}`", column.type):
            # A share is a percentage.
            is_implied = spec.is_vendor_report and column.name in SHARES
            yield Rule(f"{column.title} does not fit into {column.type}", fits, is_implied)


def _fits(name: str, type_: str) -> str | None:
    """Return the condition that a value fits into a column of a type; None where all values do."""
    if most := _greatest(type_):
        return f"ABS({name}) <= {most}"
    base, sizes = _base_and_sizes(type_)
    if base in _INTEGERS:
        return f"{name} BETWEEN {-_INTEGERS[base]} AND {_INTEGERS[base] - 1}"
    if base.startswith("character") and sizes:
        return f"LENGTH({name}) <= {sizes[0]}"
    if base == "real":
        return f"{name} = 0 OR ABS({name}) BETWEEN 1.2e-38 AND 3.4e38"
    return None


def _greatest(type_: str) -> str | None:
    """Return the greatest number that a column of a numeric type has room for, if there is one."""
    base, sizes = _base_and_sizes(type_)
    if base != "numeric" or not sizes:
        return None
    nines = min(sizes[0], _DIGITS)
    return f"{'9' * nines}e{sizes[0] - nines - sum(sizes[1:])}"


def _base_and_sizes(type_: str) -> tuple[str, list[int]]:
    """Split a type, e.g. "numeric(10,4)" into "numeric" and [10, 4]."""
    return type_.partition("(")[0], [int(size) for size in re.findall(r"-?\d+", type_)]


def _is_asin(spec: SourceSpec, column: SourceColumn) -> bool:
    """Return whether it is the vendor's ASIN.

    It has a rule of its own, ten capital letters and digits, which implies those for any text.
    """
    return spec.is_vendor_report and column.name == "asin"


def _is_text(column: SourceColumn) -> bool:
    return column.type == TEXT or column.type.startswith("character")
