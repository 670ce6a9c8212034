"""Weeks that a period has gained are added to the rows it has, unless somebody else wrote to it."""

import pytest
from psycopg import sql

from sqp_refresh.ledger.ledger import Baseline
from sqp_refresh.ledger.target_version import target_versions
from sqp_refresh.load import incremental
from sqp_refresh.load.result import Counts, NeedsMerge
from sqp_refresh.model.rows import SqlRows
from sqp_refresh.model.tables import DAILY_SQP_DATA, SUMMED_COUNTS
from sqp_refresh_tests.helpers.database import execute
from sqp_refresh_tests.load.daily_rows import (
    TARGET,
    WEEK,
    baseline_after,
    merge_week,
    rows_in_table,
)

COLUMNS = ("report_date", "marketplace", "asin", "search_query_count", *SUMMED_COUNTS)
CHANGED = {"B": (2, 2), "C": (3, 3)}


def changed_rows() -> SqlRows:
    """Return the rows that the added weeks change, as Postgres computes them."""
    values = sql.SQL(", ").join(
        sql.SQL("({}, {}, {})").format(*map(sql.Literal, (asin, *counts)))
        for asin, counts in CHANGED.items()
    )
    others = sql.SQL(", ").join(
        sql.Identifier(name) if name in ("asin_impressions", "asin_clicks") else sql.SQL("1")
        for name in ("search_query_count", *SUMMED_COUNTS)
    )
    select = sql.SQL(
        "SELECT %(period_start)s::date, 'US', asin, {others}"
        " FROM (VALUES {values}) AS _ (asin, asin_impressions, asin_clicks)"
    ).format(others=others, values=values)
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    named = sql.SQL("SELECT * FROM ({}) AS _ ({})").format(select, names)
    return SqlRows(named, COLUMNS)


def test_rows_that_the_weeks_do_not_change_stay_and_are_counted(session):
    baseline = Baseline(baseline_after(session, {"A": (1, 1), "B": (1, 1)}).target)

    with session.transaction():
        result = incremental.load(session, TARGET, changed_rows(), baseline)

        assert result.counts == Counts(read=3, inserted=1, updated=1, unchanged=1)
        assert result.totals.target == target_versions(session, DAILY_SQP_DATA, [WEEK])[WEEK]
        assert result.row_hashes is None
    assert rows_in_table(session) == {"A": (1, 1), **CHANGED}


def test_a_period_that_somebody_else_wrote_to_needs_a_merge(session, migrated_database):
    baseline = baseline_after(session, {"A": (1, 1), "B": (1, 1)})
    execute(migrated_database, "UPDATE sqp.daily_sqp_data SET asin_clicks = 9 WHERE asin = 'A'")

    with pytest.raises(NeedsMerge), session.transaction():
        incremental.load(session, TARGET, changed_rows(), baseline)


def test_a_period_that_is_not_in_the_ledger_needs_a_merge(session):
    merge_week(session, {"A": (1, 1)})

    with pytest.raises(NeedsMerge), session.transaction():
        incremental.load(session, TARGET, changed_rows(), None)
