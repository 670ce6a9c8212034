"""Compute all eight tables a second time: row by row, in plain Python, with exact fractions.

Nothing here is taken from the package or works the way it does: columns are spelt out, sums are
loops, and a ratio is a `Fraction` that is rounded once. An error of one is not an error of both.
"""

import calendar
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from statistics import median
from typing import Any

Row = dict[str, Any]
Key = tuple[Any, ...]
Rows = dict[Key, Row]

KEYS: dict[str, tuple[str, ...]] = {
    "asin_performance_data": ("start_date", "end_date", "marketplace", "asin"),
    "search_query_performance": ("start_date", "end_date", "marketplace", "asin", "search_query"),
    "search_performance_summary": ("start_date", "end_date", "marketplace", "asin", "search_query"),
    "daily_sqp_data": ("report_date", "marketplace", "asin"),
    "weekly_summary": ("period_start", "marketplace", "asin", "search_query"),
    "monthly_summary": ("period_start", "marketplace", "asin", "search_query"),
    "quarterly_summary": ("period_start", "marketplace", "asin", "search_query"),
    "yearly_summary": ("period_start", "marketplace", "asin", "search_query"),
}

# Target column, source title, decimals; in the order of the source.
MEASURES: list[tuple[str, str, int]] = [
    ("search_query_score", "Search Query Score", 0),
    ("search_query_volume", "Search Query Volume", 0),
    ("total_query_impression_count", "Total Query Impression Count", 0),
    ("asin_impression_count", "ASIN Impression Count", 0),
    ("asin_impression_share", "ASIN Impression Share", 4),
    ("total_click_count", "Total Click Count", 0),
    ("total_click_rate", "Total Click Rate", 4),
    ("asin_click_count", "ASIN Click Count", 0),
    ("asin_click_share", "ASIN Click Share", 4),
    ("total_median_click_price", "Total Median Click Price Amount", 2),
    ("asin_median_click_price", "ASIN Median Click Price Amount", 2),
    ("total_same_day_shipping_click_count", "Total Same Day Shipping Click Count", 0),
    ("total_one_day_shipping_click_count", "Total One Day Shipping Click Count", 0),
    ("total_two_day_shipping_click_count", "Total Two Day Shipping Click Count", 0),
    ("total_cart_add_count", "Total Cart Add Count", 0),
    ("total_cart_add_rate", "Total Cart Add Rate", 4),
    ("asin_cart_add_count", "ASIN Cart Add Count", 0),
    ("asin_cart_add_share", "ASIN Cart Add Share", 4),
    ("total_median_cart_add_price", "Total Median Cart Add Price Amount", 2),
    ("asin_median_cart_add_price", "ASIN Median Cart Add Price Amount", 2),
    ("total_same_day_shipping_cart_add_count", "Total Same Day Shipping Cart Add Count", 0),
    ("total_one_day_shipping_cart_add_count", "Total One Day Shipping Cart Add Count", 0),
    ("total_two_day_shipping_cart_add_count", "Total Two Day Shipping Cart Add Count", 0),
    ("total_purchase_count", "Total Purchase Count", 0),
    ("total_purchase_rate", "Total Purchase Rate", 4),
    ("asin_purchase_count", "ASIN Purchase Count", 0),
    ("asin_purchase_share", "ASIN Purchase Share", 4),
    ("total_median_purchase_price", "Total Median Purchase Price Amount", 2),
    ("asin_median_purchase_price", "ASIN Median Purchase Price Amount", 2),
    ("total_same_day_shipping_purchase_count", "Total Same Day Shipping Purchase Count", 0),
    ("total_one_day_shipping_purchase_count", "Total One Day Shipping Purchase Count", 0),
    ("total_two_day_shipping_purchase_count", "Total Two Day Shipping Purchase Count", 0),
]
STAGES = ("click", "cart_add", "purchase")

_PERIOD_COLUMNS = (
    "period_end",
    "market_impressions",
    "market_clicks",
    "market_cart_adds",
    "market_purchases",
    "asin_impressions",
    "asin_clicks",
    "asin_cart_adds",
    "asin_purchases",
    "search_query_volume",
    "ctr",
    "cart_add_rate",
    "cvr",
    "impression_share",
    "click_share",
    "cart_add_share",
    "purchase_share",
    "weeks_count",
)
# Spelt out, so that a column left out of the package's own description is found.
COLUMNS: dict[str, tuple[str, ...]] = {
    "asin_performance_data": (
        "parent_asin",
        "product_title",
        "brand",
        "category",
        "search_query_count",
        "market_impressions",
        "market_clicks",
        "market_cart_adds",
        "market_purchases",
        "asin_impressions",
        "asin_clicks",
        "asin_cart_adds",
        "asin_purchases",
        "market_price_median",
        "asin_price_median",
    ),
    "search_query_performance": (
        "parent_asin",
        "search_query_score",
        "search_query_volume",
        "total_query_impression_count",
        "asin_impression_count",
        "asin_impression_share",
        "total_click_count",
        "total_click_rate",
        "asin_click_count",
        "asin_click_share",
        "total_median_click_price",
        "asin_median_click_price",
        "total_same_day_shipping_click_count",
        "total_one_day_shipping_click_count",
        "total_two_day_shipping_click_count",
        "total_cart_add_count",
        "total_cart_add_rate",
        "asin_cart_add_count",
        "asin_cart_add_share",
        "total_median_cart_add_price",
        "asin_median_cart_add_price",
        "total_same_day_shipping_cart_add_count",
        "total_one_day_shipping_cart_add_count",
        "total_two_day_shipping_cart_add_count",
        "total_purchase_count",
        "total_purchase_rate",
        "asin_purchase_count",
        "asin_purchase_share",
        "total_median_purchase_price",
        "asin_median_purchase_price",
        "total_same_day_shipping_purchase_count",
        "total_one_day_shipping_purchase_count",
        "total_two_day_shipping_purchase_count",
    ),
    "search_performance_summary": (
        "product_title",
        "brand",
        "search_query_score",
        "search_query_volume",
        "total_query_impression_count",
        "total_click_count",
        "total_cart_add_count",
        "total_purchase_count",
        "asin_impression_count",
        "asin_click_count",
        "asin_cart_add_count",
        "asin_purchase_count",
        "asin_impression_share",
        "asin_click_share",
        "asin_cart_add_share",
        "asin_purchase_share",
        "total_median_click_price",
        "asin_median_click_price",
        "total_median_cart_add_price",
        "asin_median_cart_add_price",
        "total_median_purchase_price",
        "asin_median_purchase_price",
        "asin_click_rate",
        "asin_cart_add_rate",
        "asin_purchase_rate",
        "total_click_rate",
        "total_cart_add_rate",
        "total_purchase_rate",
    ),
    "daily_sqp_data": (
        "search_query_count",
        "market_impressions",
        "market_clicks",
        "market_cart_adds",
        "market_purchases",
        "asin_impressions",
        "asin_clicks",
        "asin_cart_adds",
        "asin_purchases",
        "ctr",
        "cart_add_rate",
        "cvr",
        "impression_share",
        "click_share",
        "cart_add_share",
        "purchase_share",
    ),
    "weekly_summary": _PERIOD_COLUMNS,
    "monthly_summary": _PERIOD_COLUMNS,
    "quarterly_summary": _PERIOD_COLUMNS,
    "yearly_summary": _PERIOD_COLUMNS,
}

SUMS = {
    "market_impressions": "total_query_impression_count",
    "market_clicks": "total_click_count",
    "market_cart_adds": "total_cart_add_count",
    "market_purchases": "total_purchase_count",
    "asin_impressions": "asin_impression_count",
    "asin_clicks": "asin_click_count",
    "asin_cart_adds": "asin_cart_add_count",
    "asin_purchases": "asin_purchase_count",
}


# -- numbers -----------------------------------------------------------------------------------


def exact(value: object) -> Fraction | None:
    """Return a number of the source, of any type, as a fraction."""
    if value is None:
        return None
    return Fraction(Decimal(value.strip()) if isinstance(value, str) else Decimal(str(value)))


def rounded(value: Fraction | None, decimals: int) -> Decimal | int | None:
    """Round once, half away from zero; a count is a whole number already."""
    if value is None:
        return None
    if decimals == 0:
        assert value.denominator == 1
        return value.numerator
    shifted = abs(value) * 10**decimals
    whole = (2 * shifted.numerator + shifted.denominator) // (2 * shifted.denominator)
    sign = -1 if value < 0 else 1
    return (Decimal(sign * whole) / 10**decimals).quantize(
        Decimal(1).scaleb(-decimals), ROUND_HALF_UP
    )


def percent(part: int | None, whole: int | None) -> Decimal | int | None:
    """Return 100 * part / whole; None where a number is unknown or the whole is 0."""
    if part is None or not whole:
        return None
    return rounded(Fraction(100 * part, whole), 4)


def total(values: Iterable[int | None]) -> int | None:
    """Sum what is known; None where nothing is."""
    not_null = [value for value in values if value is not None]
    return sum(not_null) if not_null else None


# -- source rows ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Read:
    """One row of the source, with its week and exact numbers."""

    day: date
    week: date
    marketplace: str
    asin: str
    search_query: str
    parent_asin: str | None
    brand: str | None
    product_title: str | None
    category: str | None
    numbers: dict[str, Fraction | None]

    def rank(self) -> tuple[Any, ...]:
        """Return what rows with the same key are compared by; the greatest row counts.

        The later date, then the greater values, of which null is the least. Texts come last: they
        decide which of two rows with the same figures counts, whatever the order of the rows.
        """
        values = [self.numbers[name] for name, _, _ in MEASURES]
        texts = [self.parent_asin, self.brand, self.product_title, self.category]
        return (
            self.day,
            *((value is not None, value or 0) for value in values),
            *((text is not None, text or "") for text in texts),
        )


def read(row: Row, default_marketplace: str) -> Read:
    day = row["Date"].date() if isinstance(row["Date"], datetime) else row["Date"]
    child = written(row.get("Child ASIN"))
    return Read(
        day=day,
        week=day - timedelta(days=(day.weekday() + 1) % 7),
        marketplace=row.get("Marketplace", default_marketplace),
        asin=row["Parent ASIN"] if child is None else child,
        search_query=row["Search Query"],
        parent_asin=written(row.get("Parent ASIN")),
        brand=written(row.get("Client Name")),
        product_title=written(row.get("Product Name")),
        category=written(row.get("Category")),
        numbers={name: exact(row.get(title)) for name, title, _ in MEASURES},
    )


def written(text: str | None) -> str | None:
    """Return a text that says something; None for one of blanks alone, as for none at all."""
    return text if text and text.strip(" \t\r\n") else None


def winners(rows: list[Read], by: str) -> dict[Key, Read]:
    """Return the row that counts for each key within a week, or within a day."""
    chosen: dict[Key, Read] = {}
    for row in rows:
        key = (getattr(row, by), row.marketplace, row.asin, row.search_query)
        if key not in chosen or row.rank() > chosen[key].rank():
            chosen[key] = row
    return chosen


# -- the tables ---------------------------------------------------------------------------------


def expected_tables(rows: list[Row], *, default_marketplace: str = "US") -> dict[str, Rows]:
    """Return what every table must hold, given all rows of the source."""
    typed_rows = [read(row, default_marketplace) for row in rows]
    by_week = winners(typed_rows, "week")
    by_day = winners(typed_rows, "day")
    queries = _queries(by_week)
    asins = _asins(by_week, typed_rows)
    return {
        "asin_performance_data": asins,
        "search_query_performance": queries,
        "search_performance_summary": summary_of(queries, asins),
        "daily_sqp_data": _days(by_day),
        "weekly_summary": _periods(queries, lambda day: (day, day + timedelta(days=6))),
        "monthly_summary": _periods(queries, lambda day: _months(day, 1)),
        "quarterly_summary": _periods(queries, lambda day: _months(day, 3)),
        "yearly_summary": _periods(queries, lambda day: _months(day, 12)),
    }


def superseded(rows: list[Row]) -> dict[date, int]:
    """Count the rows of each week that do not count, because another row has their key."""
    # Where no row has a marketplace, all have the same one; which one does not matter here.
    typed_rows = [read(row, "US") for row in rows]
    counted = Counter(week for week, *_ in winners(typed_rows, "week"))
    return {
        week: number - counted[week]
        for week, number in Counter(row.week for row in typed_rows).items()
    }


def _queries(by_week: dict[Key, Read]) -> Rows:
    return {
        (week, week + timedelta(days=6), marketplace, asin, query): {
            "parent_asin": row.parent_asin,
            **{name: rounded(row.numbers[name], places) for name, _, places in MEASURES},
        }
        for (week, marketplace, asin, query), row in by_week.items()
    }


def _asins(by_week: dict[Key, Read], rows: list[Read]) -> Rows:
    grouped: dict[Key, list[Read]] = defaultdict(list)
    for (week, marketplace, asin, _), row in by_week.items():
        grouped[week, week + timedelta(days=6), marketplace, asin].append(row)
    # A row that does not count may still be the only one with a title.
    all_rows: dict[Key, list[Read]] = defaultdict(list)
    for row in rows:
        all_rows[row.week, row.week + timedelta(days=6), row.marketplace, row.asin].append(row)
    return {
        key: {
            **{
                name: _latest(all_rows[key], name)
                for name in ("parent_asin", "product_title", "brand", "category")
            },
            "search_query_count": len(members),
            **_summed(members),
            "market_price_median": _median(members, "total_median_purchase_price"),
            "asin_price_median": _median(members, "asin_median_purchase_price"),
        }
        for key, members in grouped.items()
    }


def _days(by_day: dict[Key, Read]) -> Rows:
    grouped: dict[Key, list[Read]] = defaultdict(list)
    for (day, marketplace, asin, _), row in by_day.items():
        grouped[day, marketplace, asin].append(row)
    result: Rows = {}
    for key, members in grouped.items():
        sums = _summed(members)
        result[key] = {"search_query_count": len(members), **sums, **_ratios(sums)}
    return result


def summary_of(queries: Rows, asins: Rows) -> Rows:
    """Compute search_performance_summary from its two parent tables."""
    result: Rows = {}
    for key, row in queries.items():
        titled = asins[key[:4]]
        result[key] = {
            "product_title": titled["product_title"],
            "brand": titled["brand"],
            "search_query_score": row["search_query_score"],
            "search_query_volume": row["search_query_volume"],
            **{name: row[name] for name in SUMS.values()},
            "asin_impression_share": row["asin_impression_share"],
        }
        for stage in STAGES:
            for name in (
                f"asin_{stage}_share",
                f"total_median_{stage}_price",
                f"asin_median_{stage}_price",
            ):
                result[key][name] = row[name]
        for side, shown in (("asin", "impression"), ("total", "query_impression")):
            clicks = row[f"{side}_click_count"]
            result[key] |= {
                f"{side}_click_rate": percent(clicks, row[f"{side}_{shown}_count"]),
                f"{side}_cart_add_rate": percent(row[f"{side}_cart_add_count"], clicks),
                f"{side}_purchase_rate": percent(row[f"{side}_purchase_count"], clicks),
            }
    return result


def _periods(queries: Rows, bounds: Any) -> Rows:
    grouped: dict[Key, list[tuple[date, Row]]] = defaultdict(list)
    ends: dict[Key, date] = {}
    for (week, _, marketplace, asin, query), row in queries.items():
        start, end = bounds(week)
        key = (start, marketplace, asin, query)
        grouped[key].append((week, row))
        ends[key] = end
    result: Rows = {}
    for key, members in grouped.items():
        sums = {name: total(row[of] for _, row in members) for name, of in SUMS.items()}
        result[key] = {
            "period_end": ends[key],
            **sums,
            "search_query_volume": total(row["search_query_volume"] for _, row in members),
            **_ratios(sums),
            "weeks_count": len({week for week, _ in members}),
        }
    return result


def _months(day: date, length: int) -> tuple[date, date]:
    first = (day.month - 1) - (day.month - 1) % length + 1
    last = first + length - 1
    return (
        date(day.year, first, 1),
        date(day.year, last, calendar.monthrange(day.year, last)[1]),
    )


def _summed(members: list[Read]) -> dict[str, int | None]:
    return {
        name: total(rounded(row.numbers[of], 0) for row in members)  # type: ignore[misc]
        for name, of in SUMS.items()
    }


def _ratios(sums: dict[str, int | None]) -> Row:
    return {
        "ctr": percent(sums["asin_clicks"], sums["asin_impressions"]),
        "cart_add_rate": percent(sums["asin_cart_adds"], sums["asin_clicks"]),
        "cvr": percent(sums["asin_purchases"], sums["asin_clicks"]),
        "impression_share": percent(sums["asin_impressions"], sums["market_impressions"]),
        "click_share": percent(sums["asin_clicks"], sums["market_clicks"]),
        "cart_add_share": percent(sums["asin_cart_adds"], sums["market_cart_adds"]),
        "purchase_share": percent(sums["asin_purchases"], sums["market_purchases"]),
    }


def _median(members: list[Read], name: str) -> Decimal | int | None:
    values = [value for row in members if (value := row.numbers[name]) is not None]
    return rounded(median(values), 2) if values else None


def _latest(members: list[Read], name: str) -> str | None:
    texts = [(row.day, text) for row in members if (text := getattr(row, name)) is not None]
    return max(texts)[1] if texts else None


# -- comparing ------------------------------------------------------------------------------------


def carry_titles(before: dict[str, Rows], after: dict[str, Rows]) -> dict[str, Rows]:
    """Return what the tables hold after a refresh whose source lacks titles of earlier rows."""
    asins = {
        key: {
            name: before["asin_performance_data"].get(key, {}).get(name)
            if value is None and name in ("product_title", "brand", "category")
            else value
            for name, value in row.items()
        }
        for key, row in after["asin_performance_data"].items()
    }
    summary = summary_of(after["search_query_performance"], asins)
    return after | {"asin_performance_data": asins, "search_performance_summary": summary}


def counts_between(before: Rows, after: Rows) -> dict[str, int]:
    """Count what a refresh that turns `before` into `after` must report."""
    both = before.keys() & after.keys()
    same = sum(before[key] == after[key] for key in both)
    return {
        "inserted": len(after) - len(both),
        "updated": len(both) - same,
        "deleted": len(before) - len(both),
        "unchanged": same,
    }


def read_table(connection: Any, table: str, schema: str = "sqp") -> Rows:
    """Read a table of schema sqp or another, without its two timestamps."""
    key, values = KEYS[table], COLUMNS[table]
    rows = connection.execute(f"SELECT {', '.join(key + values)} FROM {schema}.{table}")
    return {row[: len(key)]: dict(zip(values, row[len(key) :], strict=True)) for row in rows}


def assert_equal(actual: Rows, expected: Rows, table: str = "table") -> None:
    """Assert that every value of every column is equal; the message lists some differences."""
    problems = [f"missing {key}" for key in expected.keys() - actual.keys()]
    problems += [f"too much {key}" for key in actual.keys() - expected.keys()]
    for key in expected.keys() & actual.keys():
        mine, theirs = expected[key], actual[key]
        problems += [
            f"{key}.{name}: {theirs.get(name, 'no such column')} instead of "
            f"{mine.get(name, 'no such column')}"
            for name in mine.keys() | theirs.keys()
            if name not in mine or name not in theirs or mine[name] != theirs[name]
        ]
    assert not problems, f"{table}: {len(problems)} differences, {sorted(problems)[:5]}"
