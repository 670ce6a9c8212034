"""Hold the views of the data: every value is the oracle's, and no common mistake is in them."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from fractions import Fraction
from random import Random

import psycopg
import pytest

from sqp_refresh_tests.data_views.loaded import NEWEST, Loaded
from sqp_refresh_tests.helpers import oracle, view_oracle
from sqp_refresh_tests.helpers.database import rows
from sqp_refresh_tests.helpers.oracle import Row
from sqp_refresh_tests.helpers.view_oracle import EXPECTED, KEYS, MARKET, OWN, PARTS


@pytest.mark.parametrize("view", EXPECTED)
def test_a_view_equals_the_oracle(loaded: Loaded, view: str):
    expected = EXPECTED[view](loaded.weeks, loaded.final)
    with psycopg.connect(loaded.url) as connection:
        actual = view_oracle.read_view(connection, view)

    if view == "movements":
        expected = view_oracle.rounded_parts(expected, actual)
    oracle.assert_equal(actual, expected, view)
    assert len(actual) > 50


def test_a_view_reads_with_the_rights_of_its_reader_and_says_what_it_means(loaded: Loaded):
    views = rows(
        loaded.url,
        "SELECT relname::text, reloptions, obj_description(oid, 'pg_class') IS NOT NULL, ARRAY("
        " SELECT attname::text FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0"
        " AND col_description(attrelid, attnum) IS NULL)"
        f" FROM pg_class WHERE relkind = 'v' AND relname IN {tuple(KEYS)} ORDER BY 1",
    )
    assert views == [(view, ["security_invoker=true"], True, []) for view in sorted(KEYS)]


# -- the mistakes that others make -----------------------------------------------------------------

MISTAKEN = "FROM sqp.{} WHERE marketplace = 'CA' AND search_query = 'mistaken'"
NOW = f"{MISTAKEN} AND period_start = '{NEWEST}'"


def only(url: str, query: str) -> tuple:
    (row,) = rows(url, query)
    return row


def test_no_ratio_is_the_average_of_ratios(loaded: Loaded):
    own, share = only(
        loaded.url, f"SELECT asin_clicks, click_share {NOW.format('brand_query_weekly')}"
    )
    (average,) = only(loaded.url, f"SELECT avg(click_share) {NOW.format('weekly_summary')}")

    assert (own, share) == (120, oracle.percent(120, 1001))
    assert average < share * Decimal("0.6"), "the mistake would be seen"
    trend = "SELECT cvr, asin_clicks_mean_12 FROM sqp.query_trends WHERE asin = 'B0LARGE000'"
    assert only(loaded.url, trend) == (1, 100)


def test_no_market_is_summed_over_asins(loaded: Loaded):
    market = "market_impressions, market_clicks, market_purchases, search_query_volume"
    week = only(loaded.url, f"SELECT {market}, asins {NOW.format('brand_query_weekly')}")
    assert week == (40_001, 1001, 101, 1001, 2)

    # Both weeks of August, each once.
    month = only(
        loaded.url,
        f"SELECT {market}, asins, weeks_count {MISTAKEN.format('brand_query_monthly')}"
        " AND period_start = '2025-08-01'",
    )
    assert month == (80_001, 2001, 201, 2001, 2, 2)


def test_no_week_begins_on_a_monday(loaded: Loaded):
    """Check that a week belongs to its Sunday, and to the month of that, in every view."""
    for view in ("brand_query_weekly", "period_comparisons", "funnel_leaks", "movements"):
        weekly = "" if view.startswith("brand") else "AND period = 'week'"
        days = rows(
            loaded.url,
            "SELECT DISTINCT extract(isodow FROM period_start), period_end - period_start"
            f" FROM sqp.{view} WHERE true {weekly}",
        )
        assert days == [(7, 6)], view
    # Of the week of 29 June, six days are in July.
    months = rows(
        loaded.url, f"SELECT period_start {MISTAKEN.format('brand_query_monthly')} ORDER BY 1"
    )
    assert months == [(date(2025, 6, 1),), (date(2025, 8, 1),)]
    assert only(loaded.url, "SELECT max(final_week) FROM sqp.query_trends") == (NEWEST,)


def test_what_was_not_reported_is_null_and_not_zero(loaded: Loaded):
    compared = only(
        loaded.url,
        "SELECT asin_clicks, asin_clicks_before, asin_clicks_change, asin_clicks_percent,"
        f" ctr_points, weeks_count_before {MISTAKEN.format('period_comparisons')}"
        " AND period = 'week' AND period_start = '2025-06-29' AND asin = 'B0LARGE000'",
    )
    assert compared == (100, None, None, None, None, None)
    moved = f"SELECT * {MISTAKEN.format('movements')} AND period_start = '2025-06-29'"
    with psycopg.connect(loaded.url) as connection:
        cursor = connection.execute(moved.encode())
        names = [column.name for column in cursor.description or ()]
        for values in cursor.fetchall():
            row = dict(zip(names, values, strict=True))
            assert [row[name] for name in PARTS] == [None] * 5


def test_each_class_is_told_from_the_others(loaded: Loaded):
    classes = dict(
        rows(
            loaded.url,
            "SELECT search_query, class FROM sqp.query_trends WHERE asin = 'B0CLASSES0'",
        )
    )
    assert classes == {
        "growth": "growth",
        "decline": "decline",
        "volatile": "volatile",
        "stable": "stable",
        "flat": "stable",
        "new": "new",
        "vanished": "vanished",
        "too few": None,
        "by chance": "stable",
    }


def test_a_week_that_is_not_final_is_in_no_trend(loaded: Loaded):
    newest = rows(loaded.url, "SELECT marketplace, max(last_week) FROM sqp.query_trends GROUP BY 1")
    assert dict(newest) == loaded.final


# -- why purchases changed -------------------------------------------------------------------------

INSERT = """
INSERT INTO sqp.weekly_summary (
    period_start, period_end, marketplace, asin, search_query,
    {columns}, weeks_count
)
SELECT date '2020-01-05' + 7 * which, date '2020-01-11' + 7 * which, 'MX', 'B0' || number, 'moved',
    {values}, 1
FROM unnest(%s::integer[], %s::integer[], {arrays}) AS made (number, which, {columns})
"""
COLUMNS = (*OWN, *MARKET)


def test_the_parts_of_a_movement_add_up_to_the_last_unit(loaded: Loaded):
    """Check that for any counts, also for those that no funnel has."""
    random = Random(27)

    def drawn() -> dict[str, int]:
        return {
            name: random.choice((0, 1, random.randint(0, 30), random.randint(0, 10**6)))
            for name in COLUMNS
        }

    cases = [(drawn(), drawn()) for _ in range(400)]
    for (then, now), parts in zip(cases, moved(loaded.url, cases), strict=True):
        assert sum(parts) == now["asin_purchases"] - then["asin_purchases"]
        for part, exact in zip(parts, view_oracle.split(then, now), strict=True):
            # Postgres divides to 16 digits.
            assert abs(Fraction(part) - exact) <= max(Fraction(1, 10_000), abs(exact) / 10**12)


def moved(url: str, cases) -> Iterator[tuple[Decimal, ...]]:
    """Yield the five parts of each case, in a transaction that is rolled back."""
    made = [
        (number, which, row) for number, two in enumerate(cases) for which, row in enumerate(two)
    ]
    statement = INSERT.format(
        columns=", ".join(COLUMNS),
        values=", ".join(COLUMNS),
        arrays=", ".join("%s::bigint[]" for _ in COLUMNS),
    )
    values = [[row[name] for _, _, row in made] for name in COLUMNS]
    with psycopg.connect(url) as connection:
        numbers = [[number for number, *_ in made], [which for _, which, _ in made]]
        connection.execute(statement.encode(), [*numbers, *values])
        yield from connection.execute(
            f"SELECT {', '.join(PARTS)} FROM sqp.movements WHERE marketplace = 'MX'"
            " AND period = 'week' AND period_start = '2020-01-12'"
            " ORDER BY substr(asin, 3)::integer".encode()
        ).fetchall()
        connection.rollback()


def test_a_part_is_the_mean_of_two_substitutions(loaded: Loaded):
    """Check the definition where each factor has a value, and that one change is one part."""
    plain: Row = dict(zip(COLUMNS, (1000, 100, 20, 10, 50_000, 4000, 900, 300), strict=True))
    doubled = {name: 2 * number for name, number in plain.items()}
    better = plain | {"asin_clicks": 150, "asin_cart_adds": 30, "asin_purchases": 15}
    other: Row = dict(zip(COLUMNS, (900, 140, 21, 16, 70_000, 4100, 1000, 280), strict=True))
    cases = [(plain, doubled), (plain, better), (plain, other), (plain, plain)]

    parts = list(moved(loaded.url, cases))

    assert parts[0] == (10, 0, 0, 0, 0), "the market doubled, and the ASIN with it"
    assert parts[1] == (0, 0, 5, 0, 0), "it was clicked half as often again"
    assert parts[3] == (0, 0, 0, 0, 0)
    old, new = view_oracle.factors(plain), view_oracle.factors(other)
    for place in range(5):
        down = product(new[:place]) * (new[place] - old[place]) * product(old[place + 1 :])
        up = product(old[:place]) * (new[place] - old[place]) * product(new[place + 1 :])
        assert abs((down + up) / 2 - Fraction(parts[2][place])) <= Fraction(1, 10_000)


def product(factors: list[Fraction]) -> Fraction:
    result = Fraction(1)
    for factor in factors:
        result *= factor
    return result


# -- speed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["asin", "search_query", "marketplace"])
@pytest.mark.parametrize("view", EXPECTED)
def test_a_filter_reaches_every_table_beneath(loaded: Loaded, view: str, column: str):
    """Check that a view reads what it is asked for and no more: each scan has the condition."""
    if column == "asin" and column not in KEYS[view]:
        return
    with psycopg.connect(loaded.url) as connection:
        query = f"EXPLAIN (FORMAT json) SELECT * FROM sqp.{view} WHERE {column} = 'sought'"
        ((plan,),) = connection.execute(query.encode()).fetchall()
    scans = list(scans_of(plan[0]["Plan"]))

    assert scans
    for scan in scans:
        assert "'sought'" in json.dumps(scan | {"Plans": []}), scan.get("Relation Name")


def scans_of(node: dict) -> Iterator[dict]:
    """Yield the nodes of a plan that read a table; a scan of an index is part of one."""
    # Only the first or last week is read where the newest or earliest one is asked for.
    if "Relation Name" in node and node["Alias"].rstrip("_123") not in ("earlier", "newest"):
        # What a bitmap is made of is below its scan.
        below = [each.get("Index Cond", "") for each in node.get("Plans", ())]
        yield node | {"Below": below}
    for each in node.get("Plans", ()):
        yield from scans_of(each)
