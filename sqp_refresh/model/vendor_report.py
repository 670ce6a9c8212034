"""Describe Amazon's report as the vendor exports it: its columns, and what holds among them.

Units: counts are whole numbers, shares and rates percent from 0 to 100, prices the marketplace's
currency. A market total (`total_*`, the search volume) is the same on every ASIN's row of one
(marketplace, query, week): it must never be summed over ASINs.
"""

from sqp_refresh.model.table import COUNT, DATE, PERCENT, PRICE, TEXT, SourceColumn, SourceSpec

STAGES = {"Click": "click", "Cart Add": "cart_add", "Purchase": "purchase"}
SPEEDS = ("Same", "One", "Two")

DATE_TITLE = "Date"
CHILD_ASIN_TITLE = "Child ASIN"
PARENT_ASIN_TITLE = "Parent ASIN"
MARKETPLACE_TITLE = "Marketplace"
CLIENT_TITLE = "Client Name"


def _stage_columns(title: str, name: str) -> tuple[SourceColumn, ...]:
    what = title.lower()
    measures = (
        (f"Total {title} Count", f"total_{name}_count", COUNT, f"{what}s of the query, market"),
        (f"Total {title} Rate", f"total_{name}_rate", PERCENT, f"market {what}s / query volume"),
        (f"ASIN {title} Count", f"asin_{name}_count", COUNT, f"{what}s of this ASIN"),
        (f"ASIN {title} Share", f"asin_{name}_share", PERCENT, f"this ASIN's / all {what}s"),
        (
            f"Total Median {title} Price Amount",
            f"total_median_{name}_price",
            PRICE,
            f"median price over the market's {what}s",
        ),
        (
            f"ASIN Median {title} Price Amount",
            f"asin_median_{name}_price",
            PRICE,
            f"median price over this ASIN's {what}s",
        ),
    )
    shipping = (
        (
            f"Total {speed} Day Shipping {title} Count",
            f"total_{speed.lower()}_day_shipping_{name}_count",
            COUNT,
            f"market {what}s whose offer promised {speed.lower()} day shipping",
        )
        for speed in SPEEDS
    )
    return tuple(SourceColumn(*column) for column in (*measures, *shipping))


IDENTITY = (
    SourceColumn(MARKETPLACE_TITLE, "marketplace", TEXT, "Amazon marketplace", optional=True),
    SourceColumn(DATE_TITLE, "report_date", DATE, "the day the vendor labels the week with"),
    SourceColumn(CHILD_ASIN_TITLE, "asin", TEXT, "child ASIN; the parent where it has none"),
    SourceColumn("Search Query", "search_query", TEXT, "what the shopper typed"),
    SourceColumn(PARENT_ASIN_TITLE, "parent_asin", TEXT, "variation parent of the ASIN"),
)
TITLES = (
    SourceColumn(CLIENT_TITLE, "brand", TEXT, "the agency's client", optional=True),
    SourceColumn("Product Name", "product_title", TEXT, "product title", optional=True),
    SourceColumn("Category", "category", TEXT, "product category", optional=True),
)
MEASURES = (
    SourceColumn("Search Query Score", "search_query_score", COUNT, "rank, 1 is best"),
    SourceColumn("Search Query Volume", "search_query_volume", COUNT, "searches, market"),
    SourceColumn(
        "Total Query Impression Count",
        "total_query_impression_count",
        COUNT,
        "impressions of the query, market",
    ),
    SourceColumn(
        "ASIN Impression Count", "asin_impression_count", COUNT, "impressions of this ASIN"
    ),
    SourceColumn(
        "ASIN Impression Share",
        "asin_impression_share",
        PERCENT,
        "this ASIN's / all impressions",
    ),
    *(column for title, name in STAGES.items() for column in _stage_columns(title, name)),
)
SOURCE_COLUMNS = IDENTITY + TITLES + MEASURES
SQP_REPORT = SourceSpec(SOURCE_COLUMNS, DATE_TITLE, ("marketplace", "asin", "search_query"))

COUNT_SUFFIXES = ("_count", "_volume")
"""How the names of the measures end that may be added up; ranks, shares and prices may not."""
OWN_COUNTS = tuple(
    column.name
    for column in MEASURES
    if column.name.startswith("asin_") and column.name.endswith("_count")
)
"""An ASIN's own counts; all other counts are the market's."""
SHARES = {
    f"asin_{stage}_share": (f"asin_{stage}_count", f"total_{market}_count")
    for stage, market in (
        ("impression", "query_impression"),
        *zip(STAGES.values(), STAGES.values(), strict=True),
    )
}
"""Each share of a source row: its own count and its market total."""
