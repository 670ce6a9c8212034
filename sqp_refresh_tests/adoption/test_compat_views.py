"""Test that queries written for the older system find its names in views of our tables."""

import psycopg

from sqp_refresh_tests.helpers.commands import one_line, output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows

# As they were written for the older tables, which are in schema older.
QUERIES = (
    "SELECT query, asin, total_impressions, total_clicks, total_purchases, cart_adds, avg_ctr,"
    " avg_cvr, total_click_count FROM {schema}.weekly_summary ORDER BY period_start, asin, query",
    "SELECT year, month, query, total_clicks, active_weeks FROM {schema}.monthly_summary"
    " ORDER BY 1, 2, 3, asin",
    "SELECT year, quarter, query, avg_ctr FROM {schema}.quarterly_summary ORDER BY 1, 2, 3, asin",
    "SELECT query, total_purchases FROM {schema}.yearly_summary WHERE year = 2025 ORDER BY 1",
    "SELECT date, sum(impressions), sum(clicks) FROM {schema}.daily_sqp_data GROUP BY 1 ORDER BY 1",
    "SELECT search_query, asin_click_count FROM {schema}.search_query_performance ORDER BY 1, 2",
)


def test_a_query_for_the_older_tables_has_the_same_answer(beside_older):
    execute(beside_older, "CREATE ROLE compat_reader")
    try:
        output("grant", "--read", "compat_reader")

        assert output("views", "--compat", "sqp_compat").startswith("8 views in schema sqp_compat:")

        with psycopg.connect(beside_older) as connection:
            connection.execute("UPDATE older.weekly_summary SET total_click_count = 542")
            connection.execute("SET ROLE compat_reader")
            for query in QUERIES:
                ours = connection.execute(query.format(schema="sqp_compat").encode()).fetchall()
                connection.execute("RESET ROLE")
                theirs = connection.execute(query.format(schema="older").encode()).fetchall()
                assert ours == theirs, query
                assert ours
    finally:
        execute(beside_older, "DROP OWNED BY compat_reader; DROP ROLE compat_reader")
    assert rows(
        beside_older,
        "SELECT DISTINCT reloptions FROM pg_class WHERE relnamespace = 'sqp_compat'::regnamespace",
    ) == [(["security_invoker=true"],)]
    assert output("views", "--compat", "sqp_compat"), "they are replaced, being ours"


def test_what_is_not_ours_is_not_replaced(beside_older):
    assert "public.asin_performance_data, public.daily_sqp_data" in one_line(
        sqp_refresh("views", "--compat", "public")
    )
    assert "name one of your own" in one_line(sqp_refresh("views", "--compat", "sqp"))
    assert "name one of your own" in one_line(sqp_refresh("views", "--compat", "pg_catalog"))


def test_a_dry_run_prints_the_sql_that_would_be_run(beside_older):
    printed = output("views", "--compat", "sqp_compat", "--dry-run")

    assert rows(beside_older, "SELECT to_regnamespace('sqp_compat')::text") == [(None,)]
    execute(beside_older, printed)
    assert rows(beside_older, "SELECT count(*) FROM sqp_compat.weekly_summary") == [(12,)]
