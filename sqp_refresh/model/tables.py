"""The tables as data: what a row is, its key, its columns, and where each comes from.

Adding a table is one entry here and one migration. Everything else (queries, staging, publishing,
Dagster assets) is derived from these values.

Units: counts are whole numbers, shares and rates percent from 0 to 100, prices the marketplace's
currency. A market total (`total_*`, `market_*`, the search volume) is the same on every ASIN's row
of one (marketplace, query, week): it must never be summed over ASINs.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from sqp_refresh.model.periods import Grain

SCHEMA = "sqp"

TEXT = "text"
DATE = "date"
COUNT = "bigint"
PERCENT = "numeric(10,4)"
PRICE = "numeric(12,2)"


class Origin(StrEnum):
    """Which engine computes a table's rows."""

    SOURCE_ROWS = "BigQuery, row by row"
    SOURCE_AGGREGATE = "BigQuery, aggregated there"
    POSTGRES = "Postgres, from the tables it depends on"


class Dependency(StrEnum):
    """What a failed parent means for its dependent: not refreshed, or refreshed with a warning."""

    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a target: its Postgres type, and what it means, with its unit."""

    name: str
    type: str
    about: str


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column of the BigQuery table, by the title the vendor gave it, and what it becomes."""

    title: str
    name: str
    type: str
    about: str
    optional: bool = False

    @property
    def target(self) -> Column:
        """The column that receives it."""
        return Column(self.name, self.type, self.about)


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A table in BigQuery, and what is read of it.

    Attributes:
        columns: What is read, by title, and what it becomes.
        week_title: Title of the column that places a row in its week; None reads all rows at once.
        key: The columns, by our names, that tell the rows of one week apart.
        name: The table, as an operator registered it; None is the vendor's, which a switch names.
    """

    columns: tuple[SourceColumn, ...]
    week_title: str | None
    key: tuple[str, ...]
    name: str | None = None

    @property
    def is_vendor_report(self) -> bool:
        """Return whether it is Amazon's report as the vendor exports it, not a registered table."""
        return self.name is None


@dataclass(frozen=True, slots=True)
class Table:
    """One target: everything the steps and the asset graph need to know about it.

    Attributes:
        row: What one row is, in the words of the person who reads it.
        grain: How much time a row covers.
        scope: The key column whose value places a row in the week or period published at once;
            None where all rows are published at once.
        key: The primary key, in the order of its index.
        values: The columns beside the key.
        ratios: Values that are 100 * dividend / divisor of two others, null where that is 0.
        medians: Values that are the exact median of a source measure over the queries in a row.
        kept_when_null: Values that a null from the source never overwrites.
        is_stamped: Whether `updated_at` tells when a value of the row last changed.
        source: What BigQuery is read for; None for a table derived in Postgres.
        parents: Tables that must be fresh before this one, and how strictly.
        priority: Higher is refreshed first among tables that are ready.
        frequency_hours: Hours between two refreshes.
    """

    name: str
    row: str
    origin: Origin
    grain: Grain
    scope: str | None
    key: tuple[Column, ...]
    values: tuple[Column, ...]
    priority: int
    frequency_hours: int = 24
    source: SourceSpec | None = None
    parents: dict[str, Dependency] = field(default_factory=dict)
    ratios: dict[str, tuple[str, str]] = field(default_factory=dict)
    medians: dict[str, str] = field(default_factory=dict)
    kept_when_null: frozenset[str] = frozenset()
    is_stamped: bool = True

    @property
    def columns(self) -> tuple[Column, ...]:
        """Key and values, without the two timestamps that Postgres keeps itself."""
        return self.key + self.values


def middle_columns(median: str) -> tuple[str, str]:
    """The two columns that carry a median's middle values; equal where their number is odd.

    Their mean is taken in Postgres, exactly and rounded once.
    """
    return f"{median}_low", f"{median}_high"


def measures_first(columns: tuple[Column, ...]) -> list[Column]:
    """Columns in the order that settles which of two contradicting rows counts: numbers, text."""
    return sorted(columns, key=lambda column: column.type == TEXT)


# -- the source ---------------------------------------------------------------------------------

STAGES = {"Click": "click", "Cart Add": "cart_add", "Purchase": "purchase"}
SPEEDS = ("Same", "One", "Two")

DATE_TITLE = "Date"
CHILD_ASIN_TITLE = "Child ASIN"
PARENT_ASIN_TITLE = "Parent ASIN"
MARKETPLACE_TITLE = "Marketplace"


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
    SourceColumn("Client Name", "brand", TEXT, "the agency's client", optional=True),
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


# -- columns that several targets share ------------------------------------------------------------

_SOURCE = {column.name: column.target for column in SOURCE_COLUMNS}
_START = Column("start_date", DATE, "Sunday that opens the week")
_END = Column("end_date", DATE, "Saturday that closes the week")
_QUERY_COUNT = Column("search_query_count", COUNT, "queries of the ASIN")

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
OWN_COUNTS = tuple(count for count in SUMMED_COUNTS.values() if count.startswith("asin_"))
# Each share of a source row: own count and market total.
SHARES = {
    f"asin_{stage}_share": (f"asin_{stage}_count", f"total_{market}_count")
    for stage, market in (
        ("impression", "query_impression"),
        *zip(STAGES.values(), STAGES.values(), strict=True),
    )
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
    ratios=RATIOS,
    priority=85,
)

TABLES = {
    table.name: table
    for table in (
        ASIN_PERFORMANCE_DATA,
        SEARCH_QUERY_PERFORMANCE,
        SEARCH_PERFORMANCE_SUMMARY,
        DAILY_SQP_DATA,
        _period_summary(Grain.WEEK, 80, _BOTH),
        _period_summary(Grain.MONTH, 75, _BOTH),
        _period_summary(Grain.QUARTER, 70, _BOTH),
        _period_summary(Grain.YEAR, 65, _BOTH),
    )
}


def aggregated_from(source: SourceSpec) -> list[Table]:
    """The tables that BigQuery aggregates from a source."""
    return [
        table
        for table in TABLES.values()
        if table.origin is Origin.SOURCE_AGGREGATE and table.source == source
    ]
