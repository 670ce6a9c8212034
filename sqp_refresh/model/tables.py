"""Define the tables as data: what a row is, its key, its columns, and where each comes from.

Adding a table is one entry in `TABLES` and one migration. Everything else (queries, staging,
loading, checks, Dagster assets) is derived from these values; an entry that cannot be followed is
refused when this module is imported. Whatever other modules need of tables they import from here.
"""

from sqp_refresh.model.consistency import require_consistent
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.table import (
    COUNT,
    DATE,
    PERCENT,
    PRICE,
    SCHEMA,
    TEXT,
    Column,
    Dependency,
    Origin,
    SourceColumn,
    SourceSpec,
    Table,
    is_ours,
    measures_first,
    middle_columns,
    ours,
)
from sqp_refresh.model.vendor_report import (
    CHILD_ASIN_TITLE,
    DATE_TITLE,
    MARKETPLACE_TITLE,
    MEASURES,
    OWN_COUNTS,
    PARENT_ASIN_TITLE,
    SHARES,
    SOURCE_COLUMNS,
    SPEEDS,
    SQP_REPORT,
    STAGES,
)

__all__ = [
    "ASIN_PERFORMANCE_DATA",
    "CHILD_ASIN_TITLE",
    "COUNT",
    "DAILY_SQP_DATA",
    "DATE",
    "DATE_TITLE",
    "MARKETPLACE_TITLE",
    "MEASURES",
    "OWN_COUNTS",
    "PARENT_ASIN_TITLE",
    "PERCENT",
    "PRICE",
    "RATIOS",
    "ROW_RATIOS",
    "SCHEMA",
    "SEARCH_PERFORMANCE_SUMMARY",
    "SEARCH_QUERY_PERFORMANCE",
    "SHARES",
    "SOURCE_COLUMNS",
    "SPEEDS",
    "SQP_REPORT",
    "STAGES",
    "SUMMED_COUNTS",
    "TABLES",
    "TEXT",
    "Column",
    "Dependency",
    "Origin",
    "SourceColumn",
    "SourceSpec",
    "Table",
    "aggregated_from",
    "is_ours",
    "measures_first",
    "middle_columns",
    "ours",
]

# -- columns that several targets share ------------------------------------------------------------

_SOURCE = {column.name: column.target for column in SOURCE_COLUMNS}
_START = Column("start_date", DATE, "Sunday that opens the week")
_END = Column("end_date", DATE, "Saturday that closes the week")
_QUERY_COUNT = Column("search_query_count", COUNT, "queries of the ASIN")
_QUERIES = {_QUERY_COUNT.name: "search_query"}

# What each summed count adds up: market total or own count of one stage of the funnel.
SUMMED_COUNTS = {
    "market_impressions": "total_query_impression_count",
    "market_clicks": "total_click_count",
    "market_cart_adds": "total_cart_add_count",
    "market_purchases": "total_purchase_count",
    "asin_impressions": "asin_impression_count",
    "asin_clicks": "asin_click_count",
    "asin_cart_adds": "asin_cart_add_count",
    "asin_purchases": "asin_purchase_count",
}
_SUMS = tuple(
    Column(name, COUNT, f"sum of {source} over the queries in the row")
    for name, source in SUMMED_COUNTS.items()
)

# Each ratio is 100 * dividend / divisor of two summed counts; null where the divisor is 0.
RATIOS = {
    "ctr": ("asin_clicks", "asin_impressions"),
    "cart_add_rate": ("asin_cart_adds", "asin_clicks"),
    "cvr": ("asin_purchases", "asin_clicks"),
    "impression_share": ("asin_impressions", "market_impressions"),
    "click_share": ("asin_clicks", "market_clicks"),
    "cart_add_share": ("asin_cart_adds", "market_cart_adds"),
    "purchase_share": ("asin_purchases", "market_purchases"),
}
_RATIOS = tuple(
    Column(name, PERCENT, f"100 * {dividend} / {divisor}")
    for name, (dividend, divisor) in RATIOS.items()
)

# The funnel of one row, market and own: clicks per impression, then per click.
ROW_RATIOS = {
    f"{side}_{name}": (f"{side}_{dividend}", f"{side}_{divisor}")
    for side, impressions in (("asin", "impression_count"), ("total", "query_impression_count"))
    for name, dividend, divisor in (
        ("click_rate", "click_count", impressions),
        ("cart_add_rate", "cart_add_count", "click_count"),
        ("purchase_rate", "purchase_count", "click_count"),
    )
}


def _named(*names: str) -> tuple[Column, ...]:
    return tuple(_SOURCE[name] for name in names)


# -- the targets -----------------------------------------------------------------------------------


def _period_summary(grain: Grain, priority: int, parents: dict[str, Dependency]) -> Table:
    return Table(
        name=f"{grain.value}ly_summary",
        row=f"one ASIN's performance on one search query in one {grain}, from whole weeks",
        origin=Origin.POSTGRES,
        grain=grain,
        scope="period_start",
        key=(
            Column("period_start", DATE, f"first day of the {grain}"),
            *_named("marketplace", "asin", "search_query"),
        ),
        values=(
            Column("period_end", DATE, f"last day of the {grain}"),
            *_SUMS,
            Column("search_query_volume", COUNT, "searches, market, summed over the weeks"),
            *_RATIOS,
            Column("weeks_count", COUNT, "weeks with data in the row"),
        ),
        sums=SUMMED_COUNTS | {"search_query_volume": "search_query_volume"},
        counts={"weeks_count": "start_date"},
        ratios=RATIOS,
        priority=priority,
        parents=parents,
    )


_BOTH = {
    "asin_performance_data": Dependency.HARD,
    "search_query_performance": Dependency.HARD,
}

ASIN_PERFORMANCE_DATA = Table(
    name="asin_performance_data",
    row="one ASIN in one week, summed over its search queries",
    origin=Origin.SOURCE_AGGREGATE,
    source=SQP_REPORT,
    grain=Grain.WEEK,
    scope="start_date",
    key=(_START, _END, *_named("marketplace", "asin")),
    values=(
        *_named("parent_asin", "product_title", "brand", "category"),
        _QUERY_COUNT,
        *_SUMS,
        Column(
            "market_price_median",
            PRICE,
            "exact median over the ASIN's queries of the market's median purchase price",
        ),
        Column(
            "asin_price_median",
            PRICE,
            "exact median over the ASIN's queries of its own median purchase price",
        ),
    ),
    sums=SUMMED_COUNTS,
    counts=_QUERIES,
    medians={
        "market_price_median": "total_median_purchase_price",
        "asin_price_median": "asin_median_purchase_price",
    },
    kept_when_null=frozenset({"product_title", "brand", "category"}),
    priority=100,
)

SEARCH_QUERY_PERFORMANCE = Table(
    name="search_query_performance",
    row="one ASIN on one search query in one week, as Amazon reports it",
    origin=Origin.SOURCE_ROWS,
    source=SQP_REPORT,
    grain=Grain.WEEK,
    scope="start_date",
    key=(_START, _END, *_named("marketplace", "asin", "search_query")),
    values=(*_named("parent_asin"), *(column.target for column in MEASURES)),
    priority=95,
)

SEARCH_PERFORMANCE_SUMMARY = Table(
    name="search_performance_summary",
    row="one ASIN on one search query in one week, with its title and its funnel's rates",
    origin=Origin.POSTGRES,
    grain=Grain.WEEK,
    scope="start_date",
    key=SEARCH_QUERY_PERFORMANCE.key,
    values=(
        *_named("product_title", "brand", "search_query_score", "search_query_volume"),
        *_named(*SUMMED_COUNTS.values()),
        *_named("asin_impression_share", *(f"asin_{stage}_share" for stage in STAGES.values())),
        *_named(
            *(
                f"{side}_median_{stage}_price"
                for stage in STAGES.values()
                for side in ("total", "asin")
            )
        ),
        *(
            Column(name, PERCENT, f"100 * {dividend} / {divisor}")
            for name, (dividend, divisor) in ROW_RATIOS.items()
        ),
    ),
    ratios=ROW_RATIOS,
    priority=90,
    parents=_BOTH,
)

DAILY_SQP_DATA = Table(
    name="daily_sqp_data",
    row="one ASIN on one day the vendor labelled, summed over its search queries",
    origin=Origin.SOURCE_AGGREGATE,
    source=SQP_REPORT,
    grain=Grain.DAY,
    scope="report_date",
    key=_named("report_date", "marketplace", "asin"),
    values=(_QUERY_COUNT, *_SUMS, *_RATIOS),
    sums=SUMMED_COUNTS,
    counts=_QUERIES,
    ratios=RATIOS,
    priority=85,
)

TABLES = require_consistent(
    (
        ASIN_PERFORMANCE_DATA,
        SEARCH_QUERY_PERFORMANCE,
        SEARCH_PERFORMANCE_SUMMARY,
        DAILY_SQP_DATA,
        _period_summary(Grain.WEEK, 80, _BOTH),
        _period_summary(Grain.MONTH, 75, _BOTH),
        _period_summary(Grain.QUARTER, 70, _BOTH),
        _period_summary(Grain.YEAR, 65, _BOTH),
    ),
    rows=SEARCH_QUERY_PERFORMANCE,
    titles=ASIN_PERFORMANCE_DATA,
)


def aggregated_from(source: SourceSpec) -> list[Table]:
    """List the tables that BigQuery aggregates from a source."""
    return [
        table
        for table in TABLES.values()
        if table.origin is Origin.SOURCE_AGGREGATE and table.source == source
    ]
