"""A week's volume is judged for each marketplace, too, where that tells anything."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import psycopg
import pytest

from sqp_refresh.checks.evaluate import evaluate
from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.checks.volume import VOLUME_RATIO, measure_volume
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import DAILY_SQP_DATA, SEARCH_QUERY_PERFORMANCE, Table
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.deliveries import deliver
from sqp_refresh_tests.helpers.rows import row

SUNDAYS = [date(2025, 6, 1) + timedelta(weeks=number) for number in range(10)]
WEEKS = [Period.week_of(sunday) for sunday in SUNDAYS]
STEADY = [200] * 10


def fill(url: str, table: Table, rows: Mapping[str, Sequence[int]]) -> None:
    """Put so many rows of each marketplace into each week."""
    is_daily = table is DAILY_SQP_DATA
    columns = "report_date" if is_daily else "search_query, start_date, end_date"
    # A day in the midst of the week is of it, too.
    values = "%(sunday)s::date + 3" if is_daily else "'q', %(sunday)s::date, %(sunday)s::date + 6"
    statement = (
        f"INSERT INTO sqp.{table.name} (marketplace, asin, {columns})"
        f" SELECT %(name)s, 'A' || n, {values} FROM generate_series(1, %(n)s) AS n"
    )
    with psycopg.connect(url) as connection:
        for marketplace, counts in rows.items():
            for sunday, count in zip(SUNDAYS, counts, strict=True):
                connection.execute(
                    statement.encode(),
                    {"name": marketplace, "sunday": sunday, "n": count},
                )


def failing(
    url: str, rows: Mapping[str, Sequence[int]], table: Table = SEARCH_QUERY_PERFORMANCE
) -> list[str]:
    """Return what volume_ratio says is wrong, of the last two weeks."""
    fill(url, table, rows)
    counts = dict(zip(WEEKS, map(sum, zip(*rows.values(), strict=True)), strict=True))
    metric = METRICS[VOLUME_RATIO]
    with connect(url) as session:
        measured = list(measure_volume(session, table, counts, WEEKS[-2:]))
    (verdict,) = evaluate({metric: measured})
    return [f"{failing.value} in {failing.place}" for failing in verdict.failing]


@pytest.mark.parametrize("table", [SEARCH_QUERY_PERFORMANCE, DAILY_SQP_DATA])
def test_a_marketplace_that_vanishes_is_named_with_its_week(migrated_database, table):
    rows = {"US": STEADY, "DE": [40] * 9 + [0]}

    assert failing(migrated_database, rows, table) == [f"0.0 in {SUNDAYS[-1]} of DE"]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        # Vanished for weeks; fewer than half; more than twice; one with few rows, always as many.
        ([40] * 6 + [0] * 4, [f"0.0 in {SUNDAYS[-2]} of DE", f"0.0 in {SUNDAYS[-1]} of DE"]),
        ([30, 50, 40, 44, 36, 40, 40, 40, 19, 40], [f"0.475 in {SUNDAYS[-2]} of DE"]),
        ([40] * 9 + [100], [f"2.5 in {SUNDAYS[-1]} of DE"]),
        ([4] * 9 + [0], [f"0.0 in {SUNDAYS[-1]} of DE"]),
        # As usual; new; new and growing; hardly there; small, and never the same.
        ([40, 60, 35, 44, 70, 40, 30, 55, 25, 75], []),
        ([0] * 7 + [40, 10, 90], []),
        ([0] * 9 + [40], []),
        ([1] * 9 + [0], []),
        ([1] * 9 + [7], []),
        ([3, 9, 0, 5, 12, 4, 2, 8, 1, 0], []),
    ],
)
def test_a_marketplace_is_judged_by_its_own_weeks(migrated_database, rows, expected):
    assert failing(migrated_database, {"US": STEADY, "DE": rows}) == expected


def test_a_marketplace_that_is_alone_is_judged_once(migrated_database):
    rows = {"US": [40] * 9 + [10]}

    assert failing(migrated_database, rows) == [f"0.25 in {SUNDAYS[-1]}"]


def test_a_marketplace_that_vanished_makes_the_check_fail_and_is_in_its_message(migrated_database):
    deliver(
        migrated_database,
        [
            row(day=sunday, marketplace=marketplace, query=f"query {number}")
            for sunday in SUNDAYS[:6]
            for marketplace, queries in (("US", 6), ("DE", 4))
            for number in range(queries)
            if (sunday, marketplace) != (SUNDAYS[5], "DE")
        ],
    )

    with connect(migrated_database) as session, session.transaction():
        verdicts = run_checks(session, SEARCH_QUERY_PERFORMANCE, None, today=SUNDAYS[6])
    (verdict,) = [verdict for verdict in verdicts if verdict.metric.name == VOLUME_RATIO]

    assert (verdict.ok, verdict.is_error, verdict.value) == (False, False, 0)
    assert str(verdict).startswith(f"volume_ratio is 0 in {SUNDAYS[5]} of DE, should be at least")
    assert verdict.as_json()["failing"] == [str(SUNDAYS[5])]
    assert verdict.as_json()["failing_marketplaces"] == [[str(SUNDAYS[5]), "DE"]]
