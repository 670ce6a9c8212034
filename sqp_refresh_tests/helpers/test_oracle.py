"""Check the second computation against figures worked out by hand."""

from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.rows import row

SUNDAY, SATURDAY = date(2025, 8, 10), date(2025, 8, 16)
COLUMNS = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


def only(table: oracle.Rows) -> oracle.Row:
    ((_, values),) = table.items()
    return values


def column(table: oracle.Rows, name: str) -> set:
    return {values[name] for values in table.values()}


# -- numbers ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("given_as", [0.00005, "0.00005", " 5e-5 ", Decimal("0.00005")])
def test_a_share_is_rounded_as_it_is_written_whatever_its_type(given_as):
    tables = oracle.expected_tables([row({"ASIN Click Share": given_as})])
    assert column(tables["search_query_performance"], "asin_click_share") == {Decimal("0.0001")}


def test_a_price_is_the_number_that_was_written_not_its_binary_neighbour():
    # In binary, 2.675 is a little less; rounded from there it would be 2.67.
    tables = oracle.expected_tables([row({"Total Median Click Price Amount": 2.675})])
    assert column(tables["search_query_performance"], "total_median_click_price") == {
        Decimal("2.68")
    }


def test_a_ratio_is_of_sums_and_unknown_of_nothing():
    assert oracle.percent(230, 20_110) == Decimal("1.1437")
    assert oracle.percent(0, 11) == 0
    assert oracle.percent(0, 0) is None
    assert oracle.percent(None, 7) is None
    assert oracle.percent(7, None) is None


# -- the tables ------------------------------------------------------------------------------------


def test_a_row_that_amazon_delivered():
    """5 of 542 clicks and 230 of 20,110 impressions; the shares are Amazon's, the rates ours."""
    tables = oracle.expected_tables(
        [
            row(
                {"ASIN Impression Share": 1.14, "ASIN Click Share": 0.92},
                impressions=(20_110, 230),
                clicks=(542, 5),
                cart_adds=(120, 2),
                purchases=(48, 1),
            )
        ]
    )

    ((key, summary),) = tables["search_performance_summary"].items()
    assert key == (SUNDAY, SATURDAY, "US", "B000000001", "blue widget")
    assert {name: str(summary[name]) for name in summary if name.endswith(("_rate", "_share"))} == {
        "asin_impression_share": "1.1400",
        "asin_click_share": "0.9200",
        "asin_cart_add_share": "1.6700",
        "asin_purchase_share": "2.0800",
        "asin_click_rate": "2.1739",  # 5 / 230
        "asin_cart_add_rate": "40.0000",  # 2 / 5
        "asin_purchase_rate": "20.0000",  # 1 / 5
        "total_click_rate": "2.6952",  # 542 / 20,110
        "total_cart_add_rate": "22.1402",  # 120 / 542
        "total_purchase_rate": "8.8561",  # 48 / 542
    }
    ratios = {
        "ctr": "2.1739",
        "cart_add_rate": "40.0000",
        "cvr": "20.0000",
        "impression_share": "1.1437",  # from the counts, not from 1.14
        "click_share": "0.9225",
        "cart_add_share": "1.6667",
        "purchase_share": "2.0833",
    }
    for table in ("daily_sqp_data", "weekly_summary", "yearly_summary"):
        values = only(tables[table])
        assert {name: str(values[name]) for name in ratios} == ratios, table


def test_one_asin_with_four_queries():
    rows = [
        row(query=f"q{number}", purchases=(10, 1), price=price, impressions=(1000, 100))
        for number, price in enumerate(["10.00", "30.00", "20.01", "20.00"])
    ]

    asin = only(oracle.expected_tables(rows)["asin_performance_data"])

    assert asin["search_query_count"] == 4
    assert asin["asin_impressions"] == 400
    assert asin["market_impressions"] == 4000
    assert asin["asin_price_median"] == Decimal("20.01")  # 20.005, half away from zero


def test_an_unknown_price_has_no_place_in_the_median():
    rows = [
        row(query="q1", price="10.00"),
        row(query="q2", price="99.00"),
        row(query="q3", price="12.00"),
        row(query="q4", purchases=(48, 0)),  # nothing bought, so no price
    ]
    tables = oracle.expected_tables(rows)
    assert only(tables["asin_performance_data"])["asin_price_median"] == Decimal("12.00")
    none = oracle.expected_tables(rows[3:])
    assert only(none["asin_performance_data"])["asin_price_median"] is None


def test_an_unknown_count_is_left_out_of_a_sum_and_is_never_zero():
    rows = [
        row({"ASIN Click Count": None, "ASIN Purchase Count": None}, query="q1"),
        row({"ASIN Purchase Count": None}, query="q2", clicks=(100, 7), impressions=(1000, 0)),
    ]
    for table in ("asin_performance_data", "daily_sqp_data"):
        values = only(oracle.expected_tables(rows)[table])
        assert (values["asin_clicks"], values["asin_purchases"]) == (7, None)
    day = only(oracle.expected_tables(rows)["daily_sqp_data"])
    assert day["cvr"] is None  # an unknown dividend
    day = only(oracle.expected_tables(rows[1:])["daily_sqp_data"])
    assert day["ctr"] is None  # 7 clicks of 0 impressions
    assert day["impression_share"] == 0


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


def test_a_month_s_ratio_is_of_its_sums():
    rows = [
        row(day=date(2025, 8, 3), impressions=(100, 10), clicks=(20, 1), volume=50),
        row(day=date(2025, 8, 10), impressions=(900, 90), clicks=(30, 1), volume=70),
    ]

    month = only(oracle.expected_tables(rows)["monthly_summary"])

    assert (month["period_end"], month["weeks_count"]) == (date(2025, 8, 31), 2)
    assert month["search_query_volume"] == 120
    assert month["ctr"] == 2  # 2 of 100; the mean of 10 and 1.1111 would be 5.5556
    assert month["click_share"] == 4  # 2 of 50; the mean of 5 and 3.3333 would be 4.1667


# -- which row counts ------------------------------------------------------------------------------


def test_the_later_date_of_a_week_counts_but_each_day_keeps_its_own():
    rows = [
        row(day=SATURDAY, impressions=(100, 10)),
        row(day=SUNDAY, impressions=(900, 90)),
        row(day=SUNDAY, query="only on sunday", impressions=(50, 5)),
        row(day=date(2025, 8, 17)),
    ]

    tables = oracle.expected_tables(rows)

    asins = {key[0]: values for key, values in tables["asin_performance_data"].items()}
    assert asins[SUNDAY]["asin_impressions"] == 15
    assert oracle.superseded(rows) == {SUNDAY: 1, date(2025, 8, 17): 0}
    days = {key[0]: values["asin_impressions"] for key, values in tables["daily_sqp_data"].items()}
    assert days == {SUNDAY: 95, SATURDAY: 10, date(2025, 8, 17): 230}


def test_of_one_date_the_greatest_figures_count_and_an_unknown_is_the_least():
    rows = [
        row(score=2, volume=100, impressions=(70, 7)),
        row(score=2, volume=100, impressions=(80, 1)),
        row({"Search Query Volume": None}, score=2, impressions=(999, 9)),
        row(score=1, volume=5000, impressions=(5000, 50)),
    ]
    for order in (rows, rows[::-1]):
        tables = oracle.expected_tables(order)
        assert column(tables["search_query_performance"], "asin_impression_count") == {1}
        assert column(tables["daily_sqp_data"], "market_impressions") == {80}
        assert oracle.superseded(order) == {SUNDAY: 3}


def test_of_the_same_figures_the_greatest_texts_count_whatever_the_order():
    rows = [
        row(parent_asin=None, title="Z"),
        row(parent_asin="B00PARENT2", title="A"),
        row(parent_asin="B00PARENT1", title="Y"),
    ]
    for order in (rows, rows[::-1]):
        tables = oracle.expected_tables(order)
        assert column(tables["search_query_performance"], "parent_asin") == {"B00PARENT2"}
        assert column(tables["asin_performance_data"], "product_title") == {"Z"}


def test_a_title_is_the_latest_known_and_the_greatest_of_a_day():
    rows = [
        row(day=SUNDAY, query="q1", title="Z, but early", brand="Early", category=None),
        row(day=SATURDAY, query="q2", title="A", brand=None, category=None),
        row(day=SATURDAY, query="q3", title="B", brand=None, category=None),
    ]

    tables = oracle.expected_tables(rows)

    asin = only(tables["asin_performance_data"])
    assert (asin["product_title"], asin["brand"], asin["category"]) == ("B", "Early", None)
    assert column(tables["search_performance_summary"], "product_title") == {"B"}


def test_the_parent_stands_in_for_no_child_only():
    rows = [row(asin=None, parent_asin="B00PARENT1"), row(asin="B000000001")]
    tables = oracle.expected_tables(rows)
    assert {key[2:4] for key in tables["asin_performance_data"]} == {
        ("US", "B00PARENT1"),
        ("US", "B000000001"),
    }


def test_what_the_source_has_no_column_for_is_unknown_and_the_marketplace_the_default():
    gone = {"Marketplace", "Client Name", "Product Name", "Category", "Search Query Score"}
    moment = datetime(2025, 8, 10, tzinfo=UTC)
    rows = [{title: value for title, value in row().items() if title not in gone}]
    rows[0]["Date"] = moment

    tables = oracle.expected_tables(rows, default_marketplace="DE")

    ((key, asin),) = tables["asin_performance_data"].items()
    assert key == (SUNDAY, SATURDAY, "DE", "B000000001")
    assert (asin["brand"], asin["product_title"], asin["category"]) == (None, None, None)
    assert column(tables["search_query_performance"], "search_query_score") == {None}


# -- comparing -------------------------------------------------------------------------------------


def test_a_title_once_known_is_kept_and_the_counts_follow():
    before = oracle.expected_tables([row(), row(asin="B000000002"), row(asin="B000000003")])
    after = oracle.expected_tables(
        [
            row(title=None, brand=None),
            row(asin="B000000002", title="New", category=None),
            row(asin="B000000004", title=None),
        ]
    )

    kept = oracle.carry_titles(before, after)

    titles = {
        key[3]: values["product_title"] for key, values in kept["asin_performance_data"].items()
    }
    assert titles == {
        "B000000001": "Brightwater Blue Widget",
        "B000000002": "New",
        "B000000004": None,
    }
    summaries = kept["search_performance_summary"]
    assert {key[3]: values["product_title"] for key, values in summaries.items()} == titles
    assert column(summaries, "brand") == {"Brightwater"}
    for table, counts in {
        "asin_performance_data": {"inserted": 1, "updated": 1, "deleted": 1, "unchanged": 1},
        "search_performance_summary": {"inserted": 1, "updated": 1, "deleted": 1, "unchanged": 1},
        "weekly_summary": {"inserted": 1, "updated": 0, "deleted": 1, "unchanged": 2},
    }.items():
        assert oracle.counts_between(before[table], kept[table]) == counts, table


def test_a_difference_is_named():
    with pytest.raises(AssertionError, match=r"weekly_summary: 1 differences.*\('k',\)\.a: 2"):
        oracle.assert_equal({("k",): {"a": 2}}, {("k",): {"a": 1}}, "weekly_summary")
    with pytest.raises(AssertionError, match=r"2 differences.*missing \('y',\).*too much \('x',\)"):
        oracle.assert_equal({("x",): {}}, {("y",): {}})


@pytest.mark.parametrize("table", oracle.KEYS)
def test_every_row_has_the_columns_spelt_out_and_so_has_the_migrated_table(
    migrated_database: str, table: str
):
    (values,) = oracle.expected_tables([row()])[table].values()
    assert sorted(values) == sorted(oracle.COLUMNS[table])
    with psycopg.connect(migrated_database) as connection:
        columns = [name for (name,) in connection.execute(COLUMNS, [f"sqp.{table}"])]
    stamps = ("created_at", "updated_at")
    assert tuple(columns) == oracle.KEYS[table] + oracle.COLUMNS[table] + stamps


def test_a_table_is_read_in_the_shape_that_is_expected(migrated_database: str):
    expected = oracle.expected_tables([row()])["weekly_summary"]
    with psycopg.connect(migrated_database) as connection:
        for key, values in expected.items():
            marks = ", ".join(["%s"] * len((*key, *values)))
            names = ", ".join([*oracle.KEYS["weekly_summary"], *values])
            statement = f"INSERT INTO sqp.weekly_summary ({names}) VALUES ({marks})"
            connection.execute(statement.encode(), [*key, *values.values()])
        oracle.assert_equal(oracle.read_table(connection, "weekly_summary"), expected)


# -- for any rows ----------------------------------------------------------------------------------


@st.composite
def some_row(draw: st.DrawFn) -> oracle.Row:
    own = st.one_of(st.none(), st.integers(0, 9))
    counts = {"ASIN Click Count": draw(own), "ASIN Purchase Count": draw(own)}
    return row(
        counts,
        day=draw(st.dates(date(2024, 11, 20), date(2025, 2, 10))),
        asin=draw(st.sampled_from(["B000000001", "B000000002"])),
        query=draw(st.sampled_from(["blue widget", "red widget"])),
        title=draw(st.sampled_from([None, "A", "B"])),
        volume=draw(st.integers(0, 50)),
        impressions=(draw(st.integers(10, 90)), draw(st.integers(0, 9))),
    )


some_rows = st.lists(some_row(), max_size=12)


@given(some_rows)
def test_a_year_is_the_sum_of_its_weeks(rows):
    tables = oracle.expected_tables(rows)

    weeks = defaultdict(list)
    for (sunday, *rest), values in tables["weekly_summary"].items():
        weeks[date(sunday.year, 1, 1), *rest].append(values)

    assert weeks.keys() == tables["yearly_summary"].keys()
    for key, year in tables["yearly_summary"].items():
        for name in (*oracle.SUMS, "search_query_volume", "weeks_count"):
            values = [week[name] for week in weeks[key] if week[name] is not None]
            assert year[name] == (sum(values) if values else None), name


@given(some_rows, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_means_nothing_and_none_of_them_is_lost(rows, chance):
    tables = oracle.expected_tables(rows)
    shuffled = chance.sample(rows, len(rows))

    assert oracle.expected_tables(shuffled) == tables
    lost = sum(oracle.superseded(rows).values())
    assert len(tables["search_query_performance"]) + lost == len(rows)
