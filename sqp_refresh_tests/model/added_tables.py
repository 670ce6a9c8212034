"""Tables that a later release might add, each of a key or kind that no shipped one has."""

from collections.abc import Iterable
from dataclasses import replace

from sqp_refresh.model.consistency import require_consistent
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    COUNT,
    DATE,
    PERCENT,
    PRICE,
    SEARCH_PERFORMANCE_SUMMARY,
    SEARCH_QUERY_PERFORMANCE,
    SQP_REPORT,
    SUMMED_COUNTS,
    TABLES,
    TEXT,
    Column,
    Dependency,
    Origin,
    Table,
)

OWN = {name: count for name, count in SUMMED_COUNTS.items() if name.startswith("asin_")}
CVR = {"cvr": ("asin_purchases", "asin_clicks")}
ROWS_ONLY = {SEARCH_QUERY_PERFORMANCE.name: Dependency.HARD}


def text(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, TEXT, name) for name in names)


def day(*names: str) -> tuple[Column, ...]:
    return tuple(Column(name, DATE, name) for name in names)


def count(names: Iterable[str]) -> tuple[Column, ...]:
    return tuple(Column(name, COUNT, name) for name in names)


def ratio(names: Iterable[str]) -> tuple[Column, ...]:
    return tuple(Column(name, PERCENT, name) for name in names)


VOLUME = {"searches": "search_query_volume"}
WEEKS = {"weeks_count": "start_date"}
QUERY_WEEKS = Table(
    name="query_weeks",
    row="one ASIN on one search query in one week, aggregated in BigQuery",
    origin=Origin.SOURCE_AGGREGATE,
    source=SQP_REPORT,
    grain=Grain.WEEK,
    scope="start_date",
    key=(*day("start_date", "end_date"), *text("marketplace", "asin", "search_query")),
    values=(
        *text("product_title"),
        *count([*VOLUME, "asin_clicks", "market_impressions"]),
        Column("price", PRICE, "median"),
    ),
    sums={**VOLUME, "asin_clicks": "asin_click_count"}
    | {"market_impressions": "total_query_impression_count"},
    medians={"price": "asin_median_click_price"},
    priority=1,
)
MARKETPLACE_WEEKS = Table(
    name="marketplace_weeks",
    row="one marketplace in one week",
    origin=Origin.SOURCE_AGGREGATE,
    source=SQP_REPORT,
    grain=Grain.WEEK,
    scope="start_date",
    key=(*day("start_date"), *text("marketplace")),
    values=(*count(["asins", "search_query_count", "asin_clicks", "asin_purchases"]), *ratio(CVR)),
    sums={"asin_clicks": "asin_click_count", "asin_purchases": "asin_purchase_count"},
    counts={"asins": "asin", "search_query_count": "search_query"},
    ratios=CVR,
    priority=1,
)
QUERY_DAYS = Table(
    name="query_days",
    row="one search query on one day, over all ASINs",
    origin=Origin.SOURCE_AGGREGATE,
    source=SQP_REPORT,
    grain=Grain.DAY,
    scope="report_date",
    key=(*day("report_date"), *text("marketplace", "search_query")),
    values=(*count([*OWN, "asins"]), *ratio(CVR)),
    sums=OWN,
    counts={"asins": "asin"},
    ratios=CVR,
    priority=1,
)
ASIN_MONTHS = Table(
    name="asin_months",
    row="one ASIN in one month",
    origin=Origin.POSTGRES,
    grain=Grain.MONTH,
    scope="period_start",
    key=(*day("period_start"), *text("marketplace", "asin")),
    values=(*day("period_end"), *count([*SUMMED_COUNTS, *VOLUME, *WEEKS]), *ratio(CVR)),
    sums=SUMMED_COUNTS | VOLUME,
    counts=WEEKS,
    ratios=CVR,
    parents=ROWS_ONLY,
    priority=1,
)
MARKETPLACE_QUARTERS = replace(
    ASIN_MONTHS,
    name="marketplace_quarters",
    grain=Grain.QUARTER,
    key=(*day("period_start"), *text("marketplace")),
    values=count(["asin_clicks", "queries", *WEEKS]),
    sums={"asin_clicks": "asin_click_count"},
    counts={"queries": "search_query", **WEEKS},
    ratios={},
)
ALL_TIME = replace(
    ASIN_MONTHS,
    name="all_time",
    grain=Grain.TABLE,
    scope=None,
    key=text("marketplace", "asin", "search_query"),
    values=(*count([*OWN, *WEEKS]), *ratio(CVR)),
    sums=OWN,
)
WITHOUT_TITLES = replace(
    SEARCH_PERFORMANCE_SUMMARY,
    name="without_titles",
    values=(*count(["asin_click_count", "asin_purchase_count"]), *ratio(["cvr"])),
    ratios={"cvr": ("asin_purchase_count", "asin_click_count")},
    parents=ROWS_ONLY,
)
ADDED = (
    QUERY_WEEKS,
    MARKETPLACE_WEEKS,
    QUERY_DAYS,
    ASIN_MONTHS,
    MARKETPLACE_QUARTERS,
    ALL_TIME,
    WITHOUT_TITLES,
)


def with_tables(*tables: Table) -> dict[str, Table]:
    """Return the shipped tables and these, as an import of `tables.py` would make them."""
    return require_consistent(
        [*TABLES.values(), *tables],
        rows=SEARCH_QUERY_PERFORMANCE,
        titles=ASIN_PERFORMANCE_DATA,
    )
