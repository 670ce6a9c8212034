"""What the sensor requests of weeks that the source restates behind the look-back."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.defs.run_requests.operator import requested_tables, requested_weeks
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.database import execute
from sqp_refresh_tests.helpers.nights import queries, read_tables, refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, three_weeks

TICK = datetime(2025, 8, 18, 2, tzinfo=UTC)
AN_HOUR_LATER = TICK + timedelta(hours=1)


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
