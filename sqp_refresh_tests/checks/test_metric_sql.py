"""Rates and scales are measured as if by exact division, row by row."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh.checks.metric_sql import measure
from sqp_refresh.model.contract import SHARE_TOLERANCE
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE as QUERIES
from sqp_refresh.postgres.session import connect

WEEK = Period.week_of(date(2025, 8, 10))
INSERT = """
INSERT INTO sqp.search_query_performance (
    start_date, end_date, marketplace, asin, search_query, search_query_volume,
    total_click_count, total_click_rate, asin_click_count, asin_click_share
) VALUES (%s, %s, 'US', 'A', %s, %s, %s, %s, %s, %s)
"""

scales = st.sampled_from((1, 50, 51, 100))
counts = st.none() | st.just(0) | st.integers(1, 300)


@st.composite
def rows(draw: st.DrawFn) -> tuple:
    """Volume, clicks, their rate, own clicks, their share: near what they say, or far from it."""
    volume, total, own = draw(counts), draw(counts), draw(counts)

    def near(dividend: int | None, divisor: int | None) -> Decimal | None:
        scale, off = draw(scales), draw(st.sampled_from((0, 1, 100, 5_000)))
        if dividend is None or not divisor:
            return draw(st.none() | st.decimals(0, 100, places=4))
        return round(Decimal(scale * dividend) / divisor, 4) + Decimal(off).scaleb(-4)

    return volume, total, near(total, volume), own, near(own, total)


def agreeing(volume: int | None, total: int | None, rate: Decimal | None) -> bool | None:
    if not volume or total is None or rate is None:
        return None
    return abs(Fraction(rate) - Fraction(100 * total, volume)) <= Fraction(str(SHARE_TOLERANCE))


def vote(own: int | None, total: int | None, share: Decimal | None) -> int:
    """1 for a fraction, -1 for a percentage."""
    if not total or own is None or share is None:
        return 0
    percent, fraction = (abs(Fraction(share) - Fraction(k * own, total)) for k in (100, 1))
    return (percent > fraction) - (percent < fraction)


@given(st.lists(rows(), max_size=3))
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rates_that_agree_and_shares_that_are_fractions(migrated_database, weeks_rows):
    with psycopg.connect(migrated_database) as connection:
        connection.execute("TRUNCATE sqp.search_query_performance")
        for place, values in enumerate(weeks_rows):
            connection.execute(INSERT, (WEEK.start, WEEK.end, str(place), *values))

    with connect(migrated_database) as session:
        metrics = measure(session, QUERIES, [WEEK])[WEEK]

    agreements = [agreeing(volume, total, rate) for volume, total, rate, _, _ in weeks_rows]
    known_rates = [agrees for agrees in agreements if agrees is not None]
    votes = sum(vote(own, total, share) for _, total, _, own, share in weeks_rows)
    assert metrics["rate_agreement"] == (
        sum(known_rates) / len(known_rates) if known_rates else None
    )
    assert metrics["fraction_scale_detected"] == (votes > 0)
