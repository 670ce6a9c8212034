"""One pass over a period measures the same as each metric computed for itself."""

from datetime import date

import psycopg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh.checks.metric_sql import measure
from sqp_refresh.checks.period_totals import measure_period
from sqp_refresh.checks.reconcile import COMPARED
from sqp_refresh.ledger.target_version import target_versions
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE as QUERIES
from sqp_refresh.postgres.session import connect

WEEK, NEXT = Period.week_of(date(2025, 8, 10)), Period.week_of(date(2025, 8, 17))
INSERT = """
INSERT INTO sqp.search_query_performance (
    start_date, end_date, marketplace, asin, search_query, asin_impression_count,
    asin_click_count, asin_cart_add_count, asin_purchase_count
) VALUES (%s, %s, 'US', %s, %s, %s, %s, 0, %s)
"""

counts = st.none() | st.integers(0, 2**53)
weeks_of_rows = st.dictionaries(
    st.tuples(st.sampled_from("ABC"), st.sampled_from("xyz")), st.tuples(counts, counts, counts)
)


@given(weeks_of_rows)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_counts_adds_up_and_locates_the_rows_of_its_period_alone(migrated_database, rows):
    with psycopg.connect(migrated_database) as connection:
        connection.execute("TRUNCATE sqp.search_query_performance")
        for (asin, query), values in [*rows.items(), (("N", "next"), (1, 2, 3))]:
            week = NEXT if asin == "N" else WEEK
            connection.execute(INSERT, (week.start, week.end, asin, query, *values))

    with connect(migrated_database) as session:
        totals = measure_period(session, QUERIES, WEEK)

        assert totals.target == target_versions(session, QUERIES, [WEEK])[WEEK]
        numbers = measure(session, QUERIES, [WEEK])[WEEK]
    assert totals.totals == {name: numbers[name] for name in COMPARED}
    assert totals.totals["row_count"] == len(rows)
    assert totals.totals["distinct_asin_count"] == len({asin for asin, _ in rows})
    assert totals.totals["sum_asin_purchase_count"] == sum(own or 0 for _, _, own in rows.values())
