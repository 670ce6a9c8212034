"""What the sensor requests of weeks that the source restates behind the look-back."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.defs.run_requests.operator import requested_tables, requested_weeks
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.commands import sqp_refresh
from sqp_refresh_tests.helpers.database import execute
from sqp_refresh_tests.helpers.nights import queries, read_tables, refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, three_weeks

TICK = datetime(2025, 8, 18, 2, tzinfo=UTC)
AN_HOUR_LATER = TICK + timedelta(hours=1)
# Late enough for the three weeks to be behind the look-back.
TODAY = datetime(2026, 2, 1, 6, tzinfo=UTC)
STALE = "UPDATE sqp.refresh_periods SET stale_since"
WHERE_STALE = "WHERE stale_since IS NOT NULL"


def configure(url: str, table: str, **params: object) -> None:
    execute(
        url,
        f"UPDATE sqp.refresh_config SET custom_sync_params = '{json.dumps(params)}'"
        f" WHERE table_name = '{table}'",
    )


@pytest.fixture
def night(operator, environment, monkeypatch) -> Callable[[], dg.ExecuteInProcessResult]:
    """Runs what the schedule requests at TICK, over a look-back of the three weeks."""
    monkeypatch.setenv("REFRESH_LOOKBACK_WEEKS", "3")

    def run() -> dg.ExecuteInProcessResult:
        due = f"UPDATE sqp.refresh_config SET next_refresh_at = '{TICK}'"
        execute(environment.database_url, due)
        return operator.launch(operator.tick(TICK))

    return run


def test_weeks_behind_the_look_back_that_were_restated_are_requested(operator, environment, source):
    refresh_all(environment)
    assert operator.sense("restated_weeks") == []
    restated = [
        dict(row, **{"Search Query Volume": 7}) if row["Date"] != MIDDLE else row
        for row in three_weeks()
    ]
    source.replace(restated)

    first, last = operator.sense("restated_weeks")

    for request, week in ((first, FIRST), (last, LAST)):
        assert requested_tables(request) == set(TABLES)
        assert requested_weeks(request) == (str(week), str(week))
    again = operator.sense("restated_weeks")
    assert [request.run_key for request in again] == [first.run_key, last.run_key]
    operator.run()
    assert operator.sense("restated_weeks") == []


def test_a_week_that_was_empty_and_has_arrived_since_is_requested(operator, environment, source):
    source.replace([row for row in three_weeks() if row["Date"] != MIDDLE])
    refresh_all(environment)
    source.replace(three_weeks())

    (request,) = operator.sense("restated_weeks")

    assert requested_weeks(request) == (str(MIDDLE), str(MIDDLE))


def test_a_disabled_table_is_not_requested_by_a_restatement(operator, environment, source):
    refresh_all(environment)
    source.replace(three_weeks(volume=7))
    execute(
        environment.database_url,
        "UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name = 'daily_sqp_data'",
    )

    (request,) = operator.sense("restated_weeks")

    assert requested_tables(request) == TABLES.keys() - {"daily_sqp_data"}


def test_a_table_that_looks_less_far_back_than_the_night_gets_what_is_restated_behind_it(
    operator, environment, source, night
):
    configure(environment.database_url, "daily_sqp_data", lookback_weeks=1)
    refresh_all(environment)
    restated = three_weeks(clicks=(600, 7))
    source.replace(restated)
    assert night().success

    before = queries(environment)
    (request,) = operator.sense("restated_weeks", at=AN_HOUR_LATER)

    # Three tables and two look-backs, but one source: its versions, and its rows without a date.
    assert len(queries(environment)) - len(before) == 2
    assert requested_tables(request) == {"daily_sqp_data"}
    assert requested_weeks(request) == (str(FIRST), str(MIDDLE))
    assert operator.launch(request).success
    for table, rows in oracle.expected_tables(restated).items():
        oracle.assert_equal(read_tables(environment)[table], rows, table)
    assert operator.sense("restated_weeks", at=AN_HOUR_LATER) == []


def test_a_restatement_that_no_run_could_load_is_asked_for_every_day_and_named_by_status(
    operator, environment, source
):
    refresh_all(environment)
    source.replace(three_weeks(volume=7))
    (request,) = operator.sense("restated_weeks", at=TODAY)
    operator.run_without_bigquery(requested_tables(request), **request.tags)

    (later,) = operator.sense("restated_weeks", at=TODAY + timedelta(hours=12))
    (next_day,) = operator.sense("restated_weeks", at=TODAY + timedelta(days=1))

    assert later.run_key == request.run_key
    assert next_day.run_key != request.run_key
    assert next_day.tags == request.tags
    behind = f"is behind its source in {FIRST}, {MIDDLE}, {LAST}, seen first at"
    assert f"search_query_performance {behind}" in problems_of_status()
    assert f"asin_performance_data {behind}" in problems_of_status()
    execute(environment.database_url, f"{STALE} = now() - interval '25 hours' {WHERE_STALE}")
    assert "broken" in severities_of(problem="search_query_performance is behind")
    assert operator.launch(next_day).success
    assert "is behind its source" not in problems_of_status()
    assert operator.sense("restated_weeks", at=TODAY + timedelta(days=2)) == []


def test_a_state_that_the_source_has_given_up_again_is_no_longer_behind(
    operator, environment, source
):
    refresh_all(environment)
    source.replace(three_weeks(volume=7))
    assert operator.sense("restated_weeks")
    source.replace(three_weeks())

    assert operator.sense("restated_weeks") == []
    assert "is behind its source" not in problems_of_status()


def test_a_derived_table_that_missed_a_restatement_is_requested_for_itself(
    operator, environment, source
):
    url = environment.database_url
    refresh_all(environment)
    restated = three_weeks(clicks=(600, 7))
    source.replace(restated)
    enable = "UPDATE sqp.refresh_config SET is_enabled = {} WHERE table_name = 'monthly_summary'"
    execute(url, enable.format(False))
    (request,) = operator.sense("restated_weeks")
    assert operator.launch(request).success
    assert operator.sense("restated_weeks") == []
    execute(url, enable.format(True))

    assert "monthly_summary is behind its source in 2025-07-01, 2025-08-01" in problems_of_status()
    (request,) = operator.sense("restated_weeks")

    assert requested_tables(request) == {"monthly_summary"}
    assert requested_weeks(request) == (str(FIRST), str(LAST))
    assert operator.launch(request).success
    for table, rows in oracle.expected_tables(restated).items():
        oracle.assert_equal(read_tables(environment)[table], rows, table)
    assert operator.sense("restated_weeks") == []
    assert "is behind its source" not in problems_of_status()


def test_a_week_that_its_nights_have_missed_is_requested(operator, environment, source):
    source.replace([row for row in three_weeks() if row["Date"] != MIDDLE])
    refresh_all(environment)
    source.replace(three_weeks())
    # As after a quarter without nights: the weeks in between are in no ledger.
    execute(
        environment.database_url,
        f"DELETE FROM sqp.refresh_periods WHERE period_start = '{MIDDLE}' AND period_end - 6 ="
        " period_start",
    )

    (request,) = operator.sense("restated_weeks")

    assert requested_weeks(request) == (str(MIDDLE), str(MIDDLE))
    assert operator.launch(request).success
    assert operator.sense("restated_weeks") == []


def test_a_table_that_cannot_be_compared_does_not_keep_the_others_from_it(
    operator, environment, source
):
    refresh_all(environment)
    source.replace(three_weeks(volume=7))
    configure(environment.database_url, "daily_sqp_data", lookback_weeks="many")

    (request,) = operator.sense("restated_weeks")

    assert requested_tables(request) == TABLES.keys() - {"daily_sqp_data"}
    execute(
        environment.database_url,
        "UPDATE sqp.refresh_periods SET published_at = now() - interval '3 days'"
        " WHERE table_name = 'daily_sqp_data'",
    )
    (only,) = operator.sense("restated_weeks")
    assert only.run_key == request.run_key
    assert (
        "the weeks of daily_sqp_data behind the look-back were not compared" in problems_of_status()
    )


def problems_of_status() -> str:
    """Return what status says is wrong with the data."""
    return " ".join(problem["said"] for problem in quality()["problems"])


def severities_of(problem: str) -> set[str]:
    return {each["severity"] for each in quality()["problems"] if problem in each["said"]}


def quality() -> dict[str, Any]:
    status = json.loads(sqp_refresh("status", "--json").stdout)
    (line,) = [line for line in status["lines"] if line["name"] == "checked"]
    return line
