"""A table that the queries could not be derived from is refused by name, with the remedy."""

from dataclasses import replace

import pytest

from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    SEARCH_PERFORMANCE_SUMMARY,
    SEARCH_QUERY_PERFORMANCE,
    SQP_REPORT,
    Column,
    Dependency,
    Table,
)
from sqp_refresh_tests.model.added_tables import (
    ALL_TIME,
    ASIN_MONTHS,
    CVR,
    MARKETPLACE_QUARTERS,
    MARKETPLACE_WEEKS,
    OWN,
    QUERY_DAYS,
    QUERY_WEEKS,
    ROWS_ONLY,
    WITHOUT_TITLES,
    count,
    day,
    ratio,
    text,
    with_tables,
)


def without(table: Table, name: str) -> tuple[Column, ...]:
    return tuple(column for column in table.values if column.name != name)


REFUSED: list[tuple[Table, dict, str]] = [
    (QUERY_WEEKS, {"name": "Query Weeks"}, "'Query Weeks' is no name; use up to 63 small letters"),
    (QUERY_WEEKS, {"name": "weekly_summary"}, "2 tables have this name; rename one"),
    (
        QUERY_WEEKS,
        {"values": (*QUERY_WEEKS.values, *text("asin"))},
        "column asin is there 2 times; name it once",
    ),
    (QUERY_WEEKS, {"key": day("start_date")}, "its key tells no rows of one period apart"),
    (
        ALL_TIME,
        {"values": (), "sums": {}, "counts": {}, "ratios": {}},
        "it has no column beside its key",
    ),
    # What is said of values.
    (QUERY_DAYS, {"ratios": {"ctr": CVR["cvr"]}}, "column ctr is computed or kept, but not among"),
    (
        QUERY_DAYS,
        {"ratios": {"cvr": ("asin_purchases", "asin_clicked")}},
        "column cvr needs asin_clicked beside it",
    ),
    (QUERY_WEEKS, {"kept_when_null": {"price"}}, "column price is kept, so it must be text"),
    (QUERY_WEEKS, {"kept_when_null": {"brand"}}, "column brand is computed or kept, but not among"),
    (QUERY_WEEKS, {"medians": {"prices": "asin_median_click_price"}}, "column prices is computed"),
    (
        QUERY_WEEKS,
        {"medians": {"price": "asin_median_price"}},
        "column price is the median of asin_median_price, which is no number of the source",
    ),
    (
        QUERY_DAYS,
        {"counts": {"asin_clicks": "asin"}},
        "column asin_clicks is computed in 2 ways; choose one",
    ),
    (
        QUERY_DAYS,
        {"values": (*without(QUERY_DAYS, "asins"), *ratio(["asins"]))},
        "column asins counts, so it must be bigint, not numeric",
    ),
    (
        QUERY_DAYS,
        {"values": (*without(QUERY_DAYS, "cvr"), *count(["cvr"]))},
        "column cvr is a fraction, so it must be numeric, not bigint",
    ),
    (
        ASIN_MONTHS,
        {"values": (*without(ASIN_MONTHS, "period_end"), *text("period_end"))},
        "column period_end takes a day of the period, so it must be date",
    ),
    (
        QUERY_DAYS,
        {"values": (*QUERY_DAYS.values, *count(["visits"]))},
        "nothing says how column visits is aggregated; name it in sums, counts, medians or ratios",
    ),
    (
        QUERY_DAYS,
        {"values": (*QUERY_DAYS.values, *text("note"))},
        "nothing says how column note is aggregated",
    ),
    (
        ASIN_MONTHS,
        {"values": (*ASIN_MONTHS.values, *text("product_title"))},
        "nothing says how column product_title is computed from several rows",
    ),
    # What is added up and counted.
    (
        MARKETPLACE_WEEKS,
        {"sums": {"asin_clicks": "total_click_count", "asin_purchases": "asin_purchase_count"}},
        "column asin_clicks adds up total_click_count, which is the market's on every ASIN's row",
    ),
    (
        MARKETPLACE_QUARTERS,
        {"sums": {"asin_clicks": "search_query_volume"}},
        "add asin to its key, or drop the column",
    ),
    (
        QUERY_DAYS,
        {"sums": OWN | {"asin_clicks": "search_query_score"}},
        "column asin_clicks adds up search_query_score, which is no count of the source",
    ),
    (
        ASIN_MONTHS,
        {"sums": ASIN_MONTHS.sums | {"asin_clicks": "asin_click_share"}},
        "column asin_clicks adds up asin_click_share, which is no count of the source",
    ),
    (
        QUERY_DAYS,
        {"counts": {"asins": "brand"}},
        "column asins counts brand; only marketplace, asin, search_query can be counted",
    ),
    (
        ASIN_MONTHS,
        {"counts": {"weeks_count": "report_date"}},
        "column weeks_count counts report_date; only marketplace, asin, search_query, start_date",
    ),
    (
        MARKETPLACE_WEEKS,
        {
            "key": (*MARKETPLACE_WEEKS.key, *text("asin")),
            "counts": {"asins": "search_query", "search_query_count": "search_query"},
            "sums": {"asin_clicks": "total_click_count", "asin_purchases": "asin_purchase_count"},
        },
        "marketplace_weeks: column asin_clicks is another one in asin_performance_data; rename it",
    ),
    (ASIN_MONTHS, {"medians": {"cvr": "asin_click_count"}}, "medians such as cvr need SOURCE_AGG"),
    # Keys and periods.
    (
        QUERY_WEEKS,
        {"key": (*QUERY_WEEKS.key, *text("brand"))},
        "column brand of its key may be null or is unknown; choose from marketplace, asin",
    ),
    (
        QUERY_WEEKS,
        {"key": (*QUERY_WEEKS.key, *day("report_date"))},
        "column report_date of its key may be null or is unknown",
    ),
    (
        ASIN_MONTHS,
        {"key": (*day("period_start"), *text("marketplace", "asin", "parent_asin"))},
        "column parent_asin of its key may be null or is unknown",
    ),
    (ASIN_MONTHS, {"scope": "start_date"}, "its scope start_date must be a column of its key"),
    (ASIN_MONTHS, {"scope": None}, "its scope None must be a column of its key, of type date"),
    (ALL_TIME, {"scope": "period_start"}, "its grain is TABLE, so it needs no scope"),
    (QUERY_WEEKS, {"grain": Grain.DAY}, "so its scope must be the source's day, not start_date"),
    (QUERY_DAYS, {"grain": Grain.WEEK}, "its scope must be one of start_date, end_date, period_st"),
    (QUERY_WEEKS, {"grain": Grain.MONTH}, "its grain is MONTH, but BigQuery is read week by week"),
    (QUERY_WEEKS, {"grain": Grain.TABLE}, "its grain must be TABLE where its source has no week_t"),
    (ASIN_MONTHS, {"grain": Grain.DAY}, "has one row a week; use WEEK or longer"),
    # Sources and parents.
    (QUERY_WEEKS, {"source": None}, "its origin is SOURCE_AGGREGATE, which does not go with its"),
    (ASIN_MONTHS, {"source": SQP_REPORT}, "its origin is POSTGRES, which does not go with its"),
    (
        QUERY_WEEKS,
        {"source": replace(SQP_REPORT, name="other")},
        "BigQuery aggregates the vendor's report alone; copy the rows of other",
    ),
    (ASIN_MONTHS, {"parents": {}}, "add that to its parents"),
    (
        ASIN_MONTHS,
        {"parents": ROWS_ONLY | {"asins": Dependency.HARD}},
        "its parent asins is no table; add it, or drop the dependency",
    ),
    (
        ASIN_MONTHS,
        {"parents": ROWS_ONLY | {"asin_months": Dependency.SOFT}},
        "the parents go round in a circle; drop one of them",
    ),
    # Rows as they come.
    (
        SEARCH_PERFORMANCE_SUMMARY,
        {"name": "other", "parents": ROWS_ONLY},
        "column product_title is not in search_query_performance; name it in ratios, or drop it",
    ),
    (
        WITHOUT_TITLES,
        {"grain": Grain.MONTH},
        "without sums or counts it has a row for each of search_query_performance",
    ),
    (
        SEARCH_QUERY_PERFORMANCE,
        {"name": "other", "key": ASIN_PERFORMANCE_DATA.key},
        "where rows as they come are told apart by marketplace, asin, search_query",
    ),
    (
        SEARCH_QUERY_PERFORMANCE,
        {"name": "other", "values": without(SEARCH_QUERY_PERFORMANCE, "asin_click_count")},
        "ranked by them; add asin_click_count",
    ),
    (
        SEARCH_QUERY_PERFORMANCE,
        {"name": "other", "values": SEARCH_QUERY_PERFORMANCE.values[::-1]},
        "ranked by them; reorder its values",
    ),
    (
        SEARCH_QUERY_PERFORMANCE,
        {"name": "other", "sums": {"asin_click_count": "asin_click_count"}},
        "sums, counts and medians need SOURCE_AGGREGATE",
    ),
]


@pytest.mark.parametrize(
    ("table", "fields", "message"), REFUSED, ids=[message for *_, message in REFUSED]
)
def test_a_table_that_cannot_be_followed_is_refused_by_name(table, fields, message):
    changed = replace(table, **fields)

    with pytest.raises(ValueError, match=r"model/tables\.py cannot be followed") as refused:
        with_tables(changed)

    lines = str(refused.value).splitlines()[1:]
    assert any(message in line for line in lines), lines
    assert all(changed.name in line for line in lines)
