"""Test that a comparison with another schema counts what differs, and names the likely cause."""

import json

import pytest

from sqp_refresh.adoption.comparison import ROW_PATTERNS, PeriodRows
from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute

WEEKLY = "weekly_summary"
QUERIES = "search_query_performance"


def compared(*arguments: str) -> dict:
    """Compare with schema older, which differs; return the only table that does."""
    done = sqp_refresh("compare", "older", *arguments, "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    (table,) = (table for table in json.loads(done.stdout)["tables"] if not table["equal"])
    return table


def test_what_was_copied_from_here_is_equal_in_every_table(beside_older):
    report = json.loads(output("compare", "older", "--json"))

    tables = {table["table"]: table for table in report["tables"]}
    assert tables.keys() == TABLES.keys()
    assert report["equal"] is True
    assert {name: table["rows"]["both"] for name, table in tables.items()} == {
        **{"asin_performance_data": 6, QUERIES: 12, "search_performance_summary": 12},
        **{"daily_sqp_data": 6, WEEKLY: 12, "monthly_summary": 8, "quarterly_summary": 4},
        "yearly_summary": 4,
    }
    assert [period["period"] for period in tables[WEEKLY]["periods"]] == [
        *("2025-07-27", "2025-08-03", "2025-08-10"),
    ]
    names = {"search_query": "query", "asin_impressions": "total_impressions", "ctr": "avg_ctr"}
    assert names.items() <= tables[WEEKLY]["compared"].items()
    assert tables["yearly_summary"]["compared"]["period_start"] == "year"
    assert tables[QUERIES]["key"] == ["start_date", "asin", "search_query"]
    assert tables["daily_sqp_data"]["causes"] == [
        f"{week}: 2 keys have several rows there: counts are added up, "
        "other values are not compared"
        for week in ("2025-07-27", "2025-08-03", "2025-08-10")
    ]


# Of each column, how every value differs after the statement.
WAYS = {
    "ctr": ("hundredth", "UPDATE older.weekly_summary SET avg_ctr = avg_ctr / 100"),
    "cart_add_rate": (
        "hundredfold",
        "UPDATE older.weekly_summary SET cart_add_rate = cart_add_rate * 100",
    ),
    "cvr": ("null_against_zero", "UPDATE older.weekly_summary SET avg_cvr = NULL"),
    "impression_share": (
        "zero_against_null",
        "UPDATE older.weekly_summary SET impression_share = 0",
    ),
    "market_clicks": ("null_there", "UPDATE older.weekly_summary SET total_click_count = NULL"),
    "asin_clicks": ("other", "UPDATE older.weekly_summary SET total_clicks = 7"),
    "period_end": ("one_day", "UPDATE older.weekly_summary SET period_end = period_end + 1"),
}


def test_values_that_differ_are_counted_by_the_way_they_do(beside_older):
    for _, change in WAYS.values():
        execute(beside_older, change)

    differences = compared("--table", WEEKLY, "--sample", "1")

    assert differences["rows"]["differing"] == differences["rows"]["both"] == 12
    assert differences["columns"] == {
        name: {"differ": 12, "how": {how: 12}} for name, (how, _) in WAYS.items()
    }
    assert [period["columns"]["ctr"]["differ"] for period in differences["periods"]] == [4, 4, 4]
    assert {example["column"]: example["how"] for example in differences["examples"]} == {
        name: how for name, (how, _) in WAYS.items()
    }
    example = next(each for each in differences["examples"] if each["column"] == "ctr")
    assert (example["here"], example["there"]) == ("5.6522", "0.056522")
    assert example["key"]["asin"] == "B000000001"
    with_cause = {cause.split(":")[0] for cause in differences["causes"]}
    assert with_cause == {*WAYS} - {"asin_clicks"}


LIMITED = """
INSERT INTO sqp.weekly_summary (period_start, period_end, marketplace, asin, search_query,
    asin_impressions, asin_clicks, asin_purchases, weeks_count)
SELECT '2025-08-17', '2025-08-23', 'US', 'B000000001', 'query ' || n, n, 1, 0, 1
FROM generate_series(1, 1010) AS n;
INSERT INTO older.weekly_summary (period_start, period_end, asin, query, total_impressions,
    total_clicks, total_purchases)
SELECT period_start, period_end, asin, search_query, asin_impressions, asin_clicks, asin_purchases
FROM sqp.weekly_summary WHERE period_start = '2025-08-17' LIMIT 1000
"""
PARENTS = "UPDATE older.monthly_summary SET asin = 'B00PARENT1' WHERE asin = 'B000000002'"
MONDAYS = "UPDATE older.asin_performance_data SET start_date = start_date + 1"


def test_rows_that_one_side_lacks_have_a_cause(beside_older):
    execute(beside_older, f"{LIMITED}; {PARENTS}; ALTER TABLE older.{QUERIES} DISABLE TRIGGER ALL")
    execute(beside_older, f"TRUNCATE older.{QUERIES}; {MONDAYS}")

    report = json.loads(sqp_refresh("compare", "older", "--json").stdout)

    tables = {table["table"]: table for table in report["tables"]}
    for name, only_here, only_there, cause, words in (
        (WEEKLY, 10, 0, "limit", "2025-08-17: there are exactly 1,000 rows there and 10 are"),
        ("monthly_summary", 4, 4, "parent_asin", "children are under their parent's ASIN"),
        ("asin_performance_data", 6, 6, "monday_weeks", "weeks begin on Monday there"),
        (QUERIES, 12, 0, "not_there", "2025-08-10: there is no row there"),
    ):
        differences = tables[name]
        rows = (differences["rows"]["only_here"], differences["rows"]["only_there"])
        assert rows == (only_here, only_there), name
        assert cause in [each for period in differences["periods"] for each in period["causes"]], (
            name
        )
        assert any(words in text for text in differences["causes"]), differences["causes"]


def test_weeks_and_columns_may_be_named(beside_older):
    execute(beside_older, "ALTER TABLE older.weekly_summary RENAME avg_ctr TO rate")
    execute(
        beside_older, "UPDATE older.weekly_summary SET rate = 7 WHERE period_start = '2025-07-27'"
    )

    assert sqp_refresh("compare", "older", "--table", WEEKLY).returncode == 0
    differences = compared("--table", WEEKLY, "--map", "rate=ctr", "--to", "2025-07-30")

    assert differences["columns"] == {"ctr": {"differ": 4, "how": {"other": 4}}}
    assert [period["period"] for period in differences["periods"]] == ["2025-07-27"]
    output("compare", "older", "--table", WEEKLY, "--map", "rate=ctr", "--from", "2025-08-05")


def test_a_key_through_another_table_is_followed_and_a_text_may_be_cut_off(beside_older):
    execute(beside_older, f"ALTER TABLE older.{QUERIES} DROP COLUMN start_date CASCADE")
    execute(beside_older, f"ALTER TABLE older.{QUERIES} DROP COLUMN asin CASCADE")
    execute(beside_older, f"UPDATE older.{QUERIES} SET asin_click_count = 5 WHERE id = 1")
    execute(beside_older, "UPDATE older.asin_performance_data SET product_title = 'A wid'")

    differences = compared("--table", QUERIES)
    titles = compared("--table", "asin_performance_data")

    assert differences["columns"] == {"asin_click_count": {"differ": 1, "how": {"other": 1}}}
    assert titles["columns"] == {"product_title": {"differ": 6, "how": {"cut_off": 6}}}


def test_it_reads_well_also_of_a_table_without_a_common_key(beside_older):
    execute(beside_older, "UPDATE older.weekly_summary SET avg_ctr = avg_ctr / 100")
    execute(beside_older, "CREATE SCHEMA odd; CREATE TABLE odd.weekly_summary (a integer)")

    printed = sqp_refresh("compare", "older", "--table", WEEKLY, "--sample", "0").stdout
    odd = sqp_refresh("compare", "odd")

    assert printed.splitlines()[0] == (
        "weekly_summary: 12 rows in both, 0 only here, 0 only there, 12 differ"
    )
    assert "    ctr (there avg_ctr): 4 differ: 4 a hundredth there" in printed
    assert printed.splitlines()[-1] == (
        "  likely: ctr: it is a fraction there and a percentage here (12 of 12 values)"
    )
    assert odd.returncode == 1, "it is not said to be equal"
    assert odd.stdout.startswith("weekly_summary: not compared: there is no period_start in it")


def test_wrong_usage_has_a_status_of_its_own(beside_older):
    for arguments, message in (
        (("elsewhere",), "there is no schema 'elsewhere'; choose from older, public, sqp"),
        (("sqp",), "sqp is the schema itself"),
        (("older", "--table", "nope"), "there is no table 'nope'; choose from "),
        (("older", "--map", "query"), "--map 'query' must be OLD=NEW"),
        (("older", "--map", "nope=search_query"), "no table that is compared has it there"),
        (("older", "--map", "query=nope"), "no table of sqp has a column nope"),
        (("older", "--from", "2025-08-10", "--to", "2025-08-03"), "is later than --to"),
        (("older", "--from", "August"), "Invalid value"),
    ):
        done = sqp_refresh("compare", *arguments)

        assert done.returncode == 2, arguments
        assert message in done.stderr


@pytest.mark.parametrize(
    ("rows_there", "is_limit"), [(1000, True), (50_000, True), (500, True), (1043, False)]
)
def test_a_round_number_is_taken_for_a_limit_only_where_rows_are_missing(rows_there, is_limit):
    limit = next(pattern for pattern in ROW_PATTERNS if pattern.name == "limit")

    assert (
        limit.holds(PeriodRows(None, rows_there, 9, 0, 0, rows_there + 9, rows_there)) is is_limit
    )
    assert not limit.holds(PeriodRows(None, rows_there, 0, 0, 0, rows_there, rows_there))
