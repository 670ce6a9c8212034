"""Make a database with our tables, and those of the older system beside them."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from sqp_refresh_tests.helpers import older_database
from sqp_refresh_tests.helpers.database import database_like, execute
from sqp_refresh_tests.servers.running import NEWEST, Servers

_COUNTS = {
    "impressions": ("total_query_impression_count", "asin_impression_count"),
    "clicks": ("total_click_count", "asin_click_count"),
    "cart_adds": ("total_cart_add_count", "asin_cart_add_count"),
    "purchases": ("total_purchase_count", "asin_purchase_count"),
}
_QUERY_ROWS = """
INSERT INTO sqp.search_query_performance (
    start_date, end_date, marketplace, asin, search_query, parent_asin, search_query_score,
    search_query_volume, total_query_impression_count, asin_impression_count,
    asin_impression_share, total_click_count, asin_click_count, asin_click_share,
    total_cart_add_count, asin_cart_add_count, asin_cart_add_share, total_purchase_count,
    asin_purchase_count
)
SELECT week::date, week::date + 6, 'US', asin, query, 'B00PARENT1', 1, 800, 20110, 230, 1.14,
    542, 13, 2.4, 120, 4, 3.33, 0, 0
FROM generate_series(date '2025-07-27', date '2025-08-10', interval '7 days') AS week,
    unnest(ARRAY['B000000001', 'B000000002']) AS asin,
    unnest(ARRAY['blue widget', 'red widget']) AS query
"""
_TITLES = """
INSERT INTO sqp.asin_performance_data (
    start_date, end_date, marketplace, asin, parent_asin, product_title
)
SELECT DISTINCT start_date, end_date, marketplace, asin, parent_asin, 'A widget'
FROM sqp.search_query_performance
"""
_SUMMARY = """
INSERT INTO sqp.search_performance_summary (
    start_date, end_date, marketplace, asin, search_query, product_title, asin_click_count,
    asin_click_share
)
SELECT start_date, end_date, marketplace, asin, search_query, 'A widget', asin_click_count,
    asin_click_share
FROM sqp.search_query_performance
"""
_DAILY = """
INSERT INTO sqp.daily_sqp_data (report_date, marketplace, asin, asin_impressions, asin_clicks,
    asin_purchases)
SELECT start_date, marketplace, asin, sum(asin_impression_count), sum(asin_click_count),
    sum(asin_purchase_count)
FROM sqp.search_query_performance GROUP BY 1, 2, 3
"""
_SUMS = """
INSERT INTO sqp.{grain}ly_summary (
    period_start, period_end, marketplace, asin, search_query, {counts}, ctr, cvr,
    cart_add_rate, weeks_count
)
SELECT date_trunc('{grain}', start_date + {shift})::date - {shift},
    (date_trunc('{grain}', start_date + {shift}) + interval '{step} - 1 day')::date - {shift},
    marketplace, asin, search_query, {sums}, round(1300 / 230.0, 4), 0, round(400 / 13.0, 4),
    count(*)
FROM sqp.search_query_performance GROUP BY 1, 2, 3, 4, 5
"""


def _statements() -> list[str]:
    names = [f"{side}_{stage}" for stage in _COUNTS for side in ("market", "asin")]
    sums = [f"sum({count})" for pair in _COUNTS.values() for count in pair]
    together = {"counts": ", ".join(names), "sums": ", ".join(sums)}
    return [
        *(_QUERY_ROWS, _TITLES, _SUMMARY, _DAILY),
        _SUMS.format(grain="week", shift=1, step="1 week", **together),
        _SUMS.format(grain="month", shift=0, step="1 month", **together),
        _SUMS.format(grain="quarter", shift=0, step="3 months", **together),
        _SUMS.format(grain="year", shift=0, step="1 year", **together),
    ]


@pytest.fixture(scope="session")
def _filled(servers: Servers) -> Iterator[str]:
    """Return the name of a database with three weeks in our tables, and in schema older."""
    server = servers[NEWEST]
    with database_like(server.url, servers.migrated(server)) as url:
        for statement in _statements():
            execute(url, statement)
        older_database.build(url, "older")
        older_database.fill(url, "older", "sqp")
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def beside_older(servers: Servers, _filled: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of a copy of it, to which DATABASE_URL is set."""
    with database_like(servers[NEWEST].url, _filled) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        yield url
