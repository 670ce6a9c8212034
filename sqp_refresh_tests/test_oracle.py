"""The second computation held against figures worked out by hand."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest

from sqp_refresh_tests import oracle
from sqp_refresh_tests.rows import row


@pytest.mark.parametrize(
    ("value", "places", "expected"),
    [
        (Fraction(5, 100_000), 4, "0.0001"),
        (Fraction(-5, 100_000), 4, "-0.0001"),
        (Fraction(4_999_999, 10**11), 4, "0.0000"),
        (Fraction(10_005, 1000), 2, "10.01"),
        (Fraction(1), 2, "1.00"),
    ],
)
def test_rounding_is_half_away_from_zero(value, places, expected):
    assert oracle.rounded(value, places) == Decimal(expected)


def test_a_ratio_is_of_sums_and_unknown_of_nothing():
    assert oracle.percent(230, 20_110) == Decimal("1.1437")
    assert oracle.percent(0, 11) == 0
    assert oracle.percent(0, 0) is None
    assert oracle.percent(None, 7) is None


def test_one_asin_with_four_queries():
    rows = [
        row(query=f"q{number}", purchases=(10, 1), price=price, impressions=(1000, 100))
        for number, price in enumerate(["10.00", "30.00", "20.01", "20.00"])
    ]

    tables = oracle.expected_tables(rows)

    (asin,) = tables["asin_performance_data"].values()
    assert asin["search_query_count"] == 4
    assert asin["asin_impressions"] == 400
    assert asin["market_impressions"] == 4000
    assert asin["asin_price_median"] == Decimal("20.01")  # 20.005, half away from zero


def test_the_week_around_new_year_belongs_to_the_old_one():
    tables = oracle.expected_tables([row(day=date(2025, 1, 1))])

    (week,) = tables["weekly_summary"]
    assert week[0] == date(2024, 12, 29)
    for table, start, end in (
        ("monthly_summary", date(2024, 12, 1), date(2024, 12, 31)),
        ("quarterly_summary", date(2024, 10, 1), date(2024, 12, 31)),
        ("yearly_summary", date(2024, 1, 1), date(2024, 12, 31)),
    ):
        ((key, values),) = tables[table].items()
        assert (key[0], values["period_end"]) == (start, end)


def test_the_later_date_of_a_week_counts_but_each_day_keeps_its_own():
    sunday, saturday = date(2025, 8, 10), date(2025, 8, 16)
    rows = [
        row(day=saturday, impressions=(100, 10)),
        row(day=sunday, impressions=(900, 90)),
        row(day=sunday, query="only on sunday", impressions=(50, 5)),
    ]

    tables = oracle.expected_tables(rows)

    (asin,) = tables["asin_performance_data"].values()
    assert asin["asin_impressions"] == 15
    assert oracle.superseded(rows) == 1
    days = {key[0]: values["asin_impressions"] for key, values in tables["daily_sqp_data"].items()}
    assert days == {sunday: 95, saturday: 10}


def test_a_difference_is_named():
    with pytest.raises(AssertionError, match=r"weekly_summary: 1 differences.*\('k',\)\.a: 2"):
        oracle.assert_equal({("k",): {"a": 2}}, {("k",): {"a": 1}}, "weekly_summary")
