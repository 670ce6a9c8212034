"""Once a week every period is judged, and what differs is requested whatever its age."""

from datetime import UTC, datetime, timedelta

from sqp_refresh.model.periods import finished_weeks
from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.defs.run_requests.operator import requested_tables, requested_weeks
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.code_location import code_location
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import read_tables, refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, three_weeks

QUERIES = "search_query_performance"
DAMAGE = f"DELETE FROM sqp.{QUERIES} WHERE start_date = '{FIRST}' AND asin = 'B000000001'"


def judge_every_period(operator) -> None:
    job = code_location().resolve_job_def("check_every_period")
    assert job.execute_in_process(instance=operator.instance).success


def test_what_the_weekly_check_finds_is_requested_and_mended(operator, environment, monkeypatch):
    schedule = code_location().resolve_schedule_def("weekly_check_schedule")
    assert (schedule.job_name, schedule.cron_schedule) == ("check_every_period", "15 5 * * 0")
    # A table that was never refreshed keeps no other from being judged.
    judge_every_period(operator)
    refresh_all(environment)
    # The damaged week is older than the first partition.
    monkeypatch.setenv("REFRESH_START_DATE", str(LAST))
    judge_every_period(operator)
    assert operator.sense("doubted_periods") == []
    execute(environment.database_url, DAMAGE)
    execute(
        environment.database_url,
        "UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name = 'yearly_summary'",
    )

    judge_every_period(operator)
    (request,) = operator.sense("doubted_periods")
    (again,) = operator.sense("doubted_periods")
    (tomorrow,) = operator.sense("doubted_periods", after=timedelta(days=1))

    # What fails beside it is compared with the rows that are left.
    assert requested_tables(request) >= {QUERIES, "weekly_summary", "monthly_summary"}
    assert "yearly_summary" not in requested_tables(request)
    assert request.run_key == again.run_key != tomorrow.run_key
    newest = str(finished_weeks(LAST, datetime.now(UTC).date())[-1])
    assert requested_weeks(request) == (newest, newest)
    execute(environment.database_url, "UPDATE sqp.refresh_config SET is_enabled = true")
    assert operator.run([*TABLES], **request.tags).success
    for table, expected in oracle.expected_tables(three_weeks()).items():
        oracle.assert_equal(read_tables(environment)[table], expected, table)
    assert operator.sense("doubted_periods") == []
    failed = "SELECT table_name FROM sqp.refresh_periods WHERE failed_metrics <> '{}'"
    assert {table for (table,) in rows(environment.database_url, failed)} <= {QUERIES}
