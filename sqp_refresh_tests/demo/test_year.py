"""Check the rules of real reports on the demo's year, each by another computation."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from itertools import pairwise

import polars as pl
import pyarrow as pa
import pytest
from polars import col

from sqp_refresh.demo import vocabulary
from sqp_refresh.demo.year import SUNDAYS, week_of_rows, year_of_rows
from sqp_refresh.model.tables import SOURCE_COLUMNS

STAGES = ("Click", "Cart Add", "Purchase")
SPEEDS = ("Same", "One", "Two")
COUNTS = {
    "Impression": ("Total Query Impression Count", "ASIN Impression Count"),
    **{stage: (f"Total {stage} Count", f"ASIN {stage} Count") for stage in STAGES},
}
PRICES = {
    f"{side} Median {stage} Price Amount": f"{side} {stage} Count"
    for side in ("Total", "ASIN")
    for stage in STAGES
}
MARKET = [
    "Search Query Volume",
    *(column.title for column in SOURCE_COLUMNS if column.title.startswith("Total ")),
]


@pytest.fixture(scope="module")
def arrow() -> pa.Table:
    return year_of_rows()


@pytest.fixture(scope="module")
def year(arrow: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(arrow)
    assert isinstance(frame, pl.DataFrame)
    return frame


def none(year: pl.DataFrame, violation: pl.Expr) -> bool:
    return year.filter(violation).is_empty()


def rounded(part: int, whole: int) -> float:
    """Return 100 * part / whole in decimals, by Python's own rounding."""
    return float((Decimal(100) * part / whole).quantize(Decimal("0.01"), ROUND_HALF_UP))


# -- I1 to I4: keys and types ----------------------------------------------------------------------


def test_a_key_comes_once(year: pl.DataFrame):
    key = ["Client Name", "Marketplace", "Child ASIN", "Search Query", "Date"]
    assert not year.select(key).is_duplicated().any()


def test_days_are_52_sundays_at_midnight_utc_without_a_gap(year: pl.DataFrame):
    first = datetime(2024, 8, 18, tzinfo=UTC)
    expected = [first + timedelta(weeks=week) for week in range(52)]
    assert year["Date"].unique().sort().to_list() == expected
    assert {day.strftime("%A %H:%M") for day in expected} == {"Sunday 00:00"}
    assert list(SUNDAYS) == [day.date() for day in expected]


def test_asins_have_ten_characters(year: pl.DataFrame):
    asins = pl.concat([year["Child ASIN"], year["Parent ASIN"].drop_nulls()]).unique()
    assert asins.str.contains("^[A-Z0-9]{10}$").all()


def test_queries_are_plain_text(year: pl.DataFrame):
    titles = [column.title for column in SOURCE_COLUMNS]
    assert none(year, col("Search Query").is_null() | col("Search Query").is_in(titles))
    assert year["Search Query"].unique().str.contains("^[a-z0-9]+( [a-z0-9]+)*$").all()


def test_columns_are_those_of_the_source(arrow: pa.Table):
    assert arrow.column_names == [column.title for column in SOURCE_COLUMNS]


def test_counts_are_whole_and_known(year: pl.DataFrame):
    counts = year.select(pl.selectors.matches("Count$|Volume$"))
    assert set(counts.dtypes) == {pl.Int64} and counts.width == 18
    assert none(counts, pl.any_horizontal(pl.all().is_null() | (pl.all() < 0)))


# -- I5 to I10: measures within a row --------------------------------------------------------------


@pytest.mark.parametrize("stage", COUNTS)
def test_own_count_is_part_of_the_market(year: pl.DataFrame, stage: str):
    total, own = COUNTS[stage]
    assert none(year, col(own) > col(total))


@pytest.mark.parametrize("stage", COUNTS)
def test_share_is_the_rounded_quotient_or_null(year: pl.DataFrame, stage: str):
    total, own = COUNTS[stage]
    share = f"ASIN {stage} Share"
    assert none(year, (col(total) == 0) != col(share).is_null())
    quotients = year.filter(col(total) > 0).select(own, total, share).unique()
    assert all(rounded(part, whole) == given for part, whole, given in quotients.iter_rows())


@pytest.mark.parametrize("stage", STAGES)
def test_rate_is_the_rounded_quotient_over_searches(year: pl.DataFrame, stage: str):
    total = f"Total {stage} Count"
    assert none(year, col("Search Query Volume") == 0)
    quotients = year.select(total, "Search Query Volume", f"Total {stage} Rate").unique()
    assert all(rounded(part, whole) == given for part, whole, given in quotients.iter_rows())


def test_shares_are_percent(year: pl.DataFrame):
    shares = year.select(pl.selectors.ends_with("Share"))
    assert none(shares, pl.any_horizontal((pl.all() < 0) | (pl.all() > 100)))
    assert (shares.max() > 1).row(0) == (True,) * 4


@pytest.mark.parametrize("stage", STAGES)
def test_fast_shipping_is_part_of_the_stage(year: pl.DataFrame, stage: str):
    fast = pl.sum_horizontal(f"Total {speed} Day Shipping {stage} Count" for speed in SPEEDS)
    assert none(year, fast > col(f"Total {stage} Count"))


@pytest.mark.parametrize("price", PRICES)
def test_price_is_known_where_something_was_counted(year: pl.DataFrame, price: str):
    assert none(year, (col(PRICES[price]) == 0) != col(price).is_null())
    prices = year[price].drop_nulls()
    assert (prices > 0).all() and (prices.round(2) == prices).all()
    assert year.schema[price] == pl.Decimal(38, 9)


# -- I11 to I17: rows beside each other ------------------------------------------------------------


def test_market_figures_are_the_same_on_every_asin(year: pl.DataFrame):
    market = year.select("Marketplace", "Search Query", "Date", *MARKET).unique()
    assert not market.select("Marketplace", "Search Query", "Date").is_duplicated().any()
    assert len(MARKET) == 1 + 1 + 3 * 6


def test_no_asin_has_more_than_a_hundred_queries_a_week(year: pl.DataFrame):
    assert year.group_by("Child ASIN", "Date").len()["len"].max() <= 100  # type: ignore[operator]


def test_score_counts_from_one_without_ties(year: pl.DataFrame):
    score = col("Search Query Score")
    weeks = year.group_by("Child ASIN", "Date").agg(score.sort(), rows=pl.len())
    expected = weeks.select(pl.int_ranges(1, col("rows") + 1).alias("Search Query Score"))
    assert weeks["Search Query Score"].to_list() == expected["Search Query Score"].to_list()


def test_a_better_score_never_has_fewer_cart_adds(year: pl.DataFrame):
    ranked = year.sort("Child ASIN", "Date", "Search Query Score")
    worse = ranked.select(col("ASIN Cart Add Count").diff().over("Child ASIN", "Date") > 0)
    assert not worse.to_series().any()


@pytest.mark.parametrize("side", [0, 1], ids=["market", "own"])
def test_the_funnel_narrows(year: pl.DataFrame, side: int):
    stages = [names[side] for names in COUNTS.values()]
    assert none(year, pl.any_horizontal(col(b) > col(a) for a, b in pairwise(stages)))


@pytest.mark.parametrize("stage", COUNTS)
def test_our_asins_together_are_part_of_the_market(year: pl.DataFrame, stage: str):
    total, own = COUNTS[stage]
    together = year.group_by("Search Query", "Date").agg(col(own).sum(), col(total).max())
    assert none(together, col(own) > col(total))


def test_a_search_shows_about_25_products(year: pl.DataFrame):
    shown = col("Total Query Impression Count") / col("Search Query Volume")
    assert none(year, (shown < 5) | (shown > 60))
    assert 24 < year.select(shown.mean()).item() < 28


@pytest.mark.parametrize("stage", COUNTS)
def test_measures_say_something(year: pl.DataFrame, stage: str):
    total, own = COUNTS[stage]
    assert not none(year, col(own) > 0)
    assert not none(year, col(own) < col(total))
    assert stage == "Impression" or not none(year, col(own) == 0)


# -- I21, I22, I28: how much there is --------------------------------------------------------------


def test_volumes_are_those_of_the_real_agency(year: pl.DataFrame):
    assert 205_000 <= year.height <= 216_000
    assert 38_000 <= year["Search Query"].n_unique() <= 43_000
    assert year["Child ASIN"].n_unique() == 85
    assert year["Marketplace"].unique().to_list() == ["US"]
    assert year["Client Name"].n_unique() == 3


def test_no_week_stands_out(year: pl.DataFrame):
    weeks = year.group_by("Date").agg(rows=pl.len(), asins=col("Child ASIN").n_unique())
    assert weeks["rows"].is_between(3_700, 4_650).all()
    assert weeks["asins"].is_between(60, 78).all()
    assert 66 <= weeks.select(col("asins").mean()).item() <= 70
    assert 57 <= year.height / weeks["asins"].sum() <= 62


def test_popular_queries_are_shared_and_others_come_and_go(year: pl.DataFrame):
    sharing = year.group_by("Search Query").agg(col("Child ASIN", "Date").n_unique())
    assert sharing["Child ASIN"].max() >= 25  # type: ignore[operator]
    assert (sharing["Date"] == 1).mean() > 0.3  # type: ignore[operator]
    assert (sharing["Date"] >= 40).sum() > 500


def test_a_third_of_the_products_have_no_title(year: pl.DataFrame):
    products = year.select("Child ASIN", "Product Name").unique()
    assert products.height == 85
    assert 26 <= products["Product Name"].null_count() <= 33


def test_children_of_a_parent_are_alike(year: pl.DataFrame):
    attributes = ["Client Name", "Category"]
    products = year.select("Child ASIN", "Parent ASIN", *attributes).unique()
    families = products.drop_nulls("Parent ASIN").group_by("Parent ASIN")
    assert families.agg(col(attributes).n_unique()).select(attributes).max().row(0) == (1, 1)
    assert families.len()["len"].min() == 2
    assert set(products["Child ASIN"]).isdisjoint(products["Parent ASIN"])


def test_own_figures_have_the_size_of_the_real_ones(year: pl.DataFrame):
    """The agency's five last weeks: 3.7 million impressions, 91,000 clicks, 7,100 purchases."""
    last = year.filter(col("Date") >= datetime(2025, 7, 13, tzinfo=UTC))
    shown, clicked, bought = (
        int(last[f"ASIN {stage} Count"].sum()) for stage in ("Impression", "Click", "Purchase")
    )
    assert 2.5e6 < shown < 5e6
    assert 0.02 < clicked / shown < 0.03
    assert 0.05 < bought / clicked < 0.1


# -- the same everywhere ---------------------------------------------------------------------------


DIGEST = """
import hashlib, pyarrow as pa
from sqp_refresh.demo.year import year_of_rows
year = year_of_rows()
with pa.ipc.new_stream(sink := pa.BufferOutputStream(), year.schema) as stream:
    stream.write_table(year)
digest = hashlib.sha256(sink.getvalue()).hexdigest()
"""


def test_another_process_makes_the_same_bytes():
    program = f"{DIGEST}print(digest)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    here: dict[str, object] = {}
    exec(DIGEST, here)
    assert done.stdout.decode().split() == [here["digest"]]


def test_a_week_alone_is_that_week_of_the_year(arrow: pa.Table, year: pl.DataFrame):
    sunday = SUNDAYS[17]
    of_year = arrow.filter(pa.array(year["Date"].dt.date() == sunday))
    assert week_of_rows(sunday).equals(of_year)


def test_a_day_that_is_no_sunday_has_no_rows():
    with pytest.raises(ValueError):
        week_of_rows(date(2025, 8, 9))


def test_queries_of_all_lines_differ():
    queries = [query for line in vocabulary.LINES for query in vocabulary.queries(line)]
    assert len(set(queries)) == len(queries) == len(vocabulary.LINES) * vocabulary.QUERIES_PER_LINE
