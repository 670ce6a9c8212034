"""A rollback publishes weeks as they were, pins them, and can be taken back itself."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh.control.proofs import read_chain
from sqp_refresh.errors import NotFound, SettingsError
from sqp_refresh.ledger import pins
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    SEARCH_QUERY_PERFORMANCE,
    TABLES,
    Dependency,
)
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.rollback import (
    Rollback,
    derived_sources,
    instant_of_run,
    plan_rollback,
    refresh_derived,
    roll_back,
)
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.history import COPIED, as_of, clock, copy_of, publish

SUNDAYS = FIRST, SECOND = date(2025, 8, 10), date(2025, 8, 17)
QUERIES = SEARCH_QUERY_PERFORMANCE
STAMPS = ("created_at", "updated_at")
CATALOG = Catalog(dict(TABLES))

counts = st.tuples(st.integers(0, 3), st.integers(0, 2))
weeks_of_rows = st.dictionaries(st.sampled_from("abc"), counts, min_size=1)
nights_of_weeks = st.lists(
    st.dictionaries(st.sampled_from(SUNDAYS), weeks_of_rows, min_size=1), min_size=2, max_size=4
)


# What one run left is what the next one began with; what the last one left is what there is.
SUMS = """
SELECT asin_purchases_after, coalesce(lead(asin_purchases_before) OVER (
    PARTITION BY table_name, period_start ORDER BY restated_at
), (
    SELECT sum(asin_purchase_count) FROM sqp.search_query_performance
    WHERE start_date = period_start
))
FROM sqp.restatements WHERE table_name = 'search_query_performance'
"""


@pytest.fixture
def url(migrated_database: str) -> str:
    return migrated_database


def rolled_back(url: str, at: datetime, *weeks: date, table=QUERIES):
    """Roll a table back, and refresh what is made from it."""
    periods = [Period.week_of(day) for day in weeks] or None
    with connect(url) as session, session.transaction():
        rollback = plan_rollback(session, table, at, periods)
        sources = derived_sources(session, CATALOG, rollback)
    result = roll_back(url, rollback, keeps_history=True)
    for source in sources:
        if source.table.name in COPIED:
            refresh_derived(url, source, keeps_history=True)
    return result


def unpin(url: str) -> None:
    with connect(url) as session, session.transaction():
        pins.unpin(session, QUERIES)


def held(copy, table: str = QUERIES.name):
    """Return what a copy says of one table, without the times of writing."""
    return {
        first: [{name: value for name, value in line.items() if name not in STAMPS} for line in of]
        for (name_, first), of in copy.items()
        if name_ == table
    }


@given(nights_of_weeks)
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_moment_is_known_and_every_run_can_be_gone_back_to(url, nights):
    control = ("refresh_history", "refresh_periods", "refresh_pins")
    execute(url, f"TRUNCATE {', '.join(f'sqp.{table}' for table in (*COPIED, *control))}")
    before, source, moments = clock(url), {}, []
    for night in nights:
        moments.append(publish(url, night))
        source |= night
    nothing = {period: [] for period in moments[-1].held}
    assert as_of(url, before, *nothing) == nothing
    for moment in moments:
        assert as_of(url, moment.at, *nothing) == nothing | moment.held
    assert all(left == next_ for left, next_ in rows(url, SUMS))

    for moment in moments[:-1]:
        with connect(url) as session:
            at = instant_of_run(session, QUERIES, str(moment.run))
        rolled_back(url, at)
        now = held(copy_of(url))
        was = held(moment.held)
        assert {first: now[first] for first in was} == was
        weekly = held(copy_of(url), "weekly_summary")
        assert {first: weekly[first] for first in was} == held(moment.held, "weekly_summary")
    for moment in moments:
        assert as_of(url, moment.at, *moment.held) == moment.held
    publish(url, source)
    unpin(url)
    publish(url, source)
    for table in COPIED:
        assert held(copy_of(url), table) == held(moments[-1].held, table)


def test_a_rollback_is_a_run_with_exact_counts_and_pins_what_it_publishes(url):
    first = publish(url, {FIRST: {"a": (1, 1), "b": (2, 1), "c": (3, 1)}, SECOND: {"a": (1, 1)}})
    publish(url, {FIRST: {"a": (1, 1), "b": (5, 1), "d": (4, 2)}})

    result = rolled_back(url, first.at)

    audited = rows(
        url,
        "SELECT status, rows_processed, rows_inserted, rows_updated, rows_deleted,"
        " sync_metadata->'weeks', sync_metadata->>'rollback_to' FROM sqp.refresh_audit_log"
        f" WHERE id = {result.audit_log_id}",
    )
    assert audited == [("success", 3, 1, 1, 1, [str(FIRST)], first.at.isoformat())]
    pinned = "SELECT table_name, period_start, reason, pinned_at FROM sqp.refresh_pins"
    ((table, day, reason, pinned_at),) = rows(url, pinned)
    assert (table, day) == (QUERIES.name, FIRST)
    assert "rolled back to" in reason
    week = f"WHERE table_name = '{QUERIES.name}' AND period_start = '{FIRST}'"
    ((published_at,),) = rows(url, f"SELECT published_at FROM sqp.refresh_periods {week}")
    assert pinned_at == published_at
    publish(url, {FIRST: {"a": (9, 9)}, SECOND: {"a": (9, 9)}})
    after = held(copy_of(url))
    assert after[FIRST] == held(first.held)[FIRST]
    assert after[SECOND] != held(first.held)[SECOND]
    with connect(url) as session:
        assert not read_chain(session, QUERIES).faults


@pytest.mark.parametrize(
    ("weeks", "hours", "message"),
    [
        ([FIRST], -1, "had no rows of 2025-08-10 at .* first published later"),
        ([SECOND + timedelta(weeks=1)], 0, "has no published week 2025-08-24"),
    ],
)
def test_what_was_not_published_is_refused(url, weeks, hours, message):
    first = publish(url, {FIRST: {"a": (1, 1)}})
    publish(url, {FIRST: {"a": (2, 1)}})

    with pytest.raises(SettingsError, match=message):
        rolled_back(url, first.at + timedelta(hours=hours), *weeks)


def test_where_the_history_does_not_reach_back_nothing_is_written(url):
    first = publish(url, {FIRST: {"a": (1, 1)}})
    publish(url, {FIRST: {"a": (2, 1)}}, keeps_history=False)
    last = publish(url, {FIRST: {"a": (3, 1)}})

    with pytest.raises(SettingsError, match=r"does not reach back to .*; it begins at"):
        rolled_back(url, first.at)

    assert copy_of(url) == last.held
    with connect(url) as session, pytest.raises(NotFound, match="has no run 4711"):
        instant_of_run(session, QUERIES, "4711")


def test_weeks_that_were_first_published_later_are_left(url):
    first = publish(url, {FIRST: {"a": (1, 1)}})
    publish(url, {FIRST: {"a": (2, 1)}, SECOND: {"a": (1, 1)}})
    publish(url, {SECOND: {"a": (2, 1)}})

    with connect(url) as session, session.transaction():
        rollback = plan_rollback(session, QUERIES, first.at, None)

    assert rollback.periods == [Period.week_of(FIRST)]
    assert rollback.left == [Period.week_of(SECOND)]


def test_a_title_that_was_unknown_is_unknown_again(url):
    """A refresh keeps a known title where the source has none; a rollback does not."""
    week = Period.week_of(FIRST)
    execute(
        url,
        "INSERT INTO sqp.asin_performance_data (start_date, end_date, marketplace, asin)"
        f" VALUES ('{week.start}', '{week.end}', 'US', 'B000000001');"
        "INSERT INTO sqp.refresh_periods (table_name, period_start, period_end, target_state,"
        " row_count, changed_by, published_by, history_since, scope_column)"
        " VALUES ('asin_performance_data',"
        f" '{week.start}', '{week.end}', '', 1, 1, 1, now(), 'start_date')",
    )
    before = clock(url)
    execute(
        url,
        "UPDATE sqp.asin_performance_data SET brand = 'Brightwater';"
        "INSERT INTO sqp.refresh_history (audit_log_id, table_name, period_start, key, operation,"
        f" before) SELECT 1, 'asin_performance_data', '{week.start}', jsonb_build_object("
        "'start_date', start_date, 'end_date', end_date, 'marketplace', marketplace, 'asin', asin"
        """), 'update', '{"brand": null}' FROM sqp.asin_performance_data""",
    )

    rolled_back(url, before, FIRST, table=ASIN_PERFORMANCE_DATA)

    assert rows(url, "SELECT brand FROM sqp.asin_performance_data") == [(None,)]


def test_what_is_made_from_a_derived_table_is_refreshed_after_it(url):
    weekly, monthly = TABLES["weekly_summary"], TABLES["monthly_summary"]
    of_weekly = replace(monthly, parents={weekly.name: Dependency.HARD})
    catalog = Catalog({table.name: table for table in (QUERIES, weekly, of_weekly)})
    rollback = Rollback(QUERIES, datetime(2025, 8, 20, tzinfo=UTC), [Period.week_of(FIRST)])

    with connect(url) as session, session.transaction():
        sources = derived_sources(session, catalog, rollback)

    assert [source.table.name for source in sources] == [weekly.name, monthly.name]


def test_a_derived_table_can_be_rolled_back_by_itself(url):
    first = publish(url, {FIRST: {"a": (1, 1)}})
    publish(url, {FIRST: {"a": (2, 1)}})

    rolled_back(url, first.at, FIRST, table=TABLES["weekly_summary"])

    weekly = held(copy_of(url), "weekly_summary")
    assert weekly == held(first.held, "weekly_summary")
    assert held(copy_of(url)) != held(first.held)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT table_name FROM sqp.refresh_pins").fetchall() == [
            ("weekly_summary",)
        ]
