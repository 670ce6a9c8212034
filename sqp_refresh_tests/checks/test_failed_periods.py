"""A period that fails is remembered until it is judged again, and any refresh makes it again."""

import json
from collections.abc import Iterator
from datetime import date

import pytest

from sqp_refresh.checks import metric_sql
from sqp_refresh.checks.evaluate import Verdict
from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.ledger.verdicts import periods_to_repair
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, TABLES
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import tolerate
from sqp_refresh_tests.helpers.nights import read_tables, refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, three_weeks

QUERIES = SEARCH_QUERY_PERFORMANCE.name
MONTHS = TABLES["monthly_summary"]
JULY = Period.containing(FIRST, Grain.MONTH)
FAILED = "SELECT table_name, period_start, failed_metrics, needs_reload FROM sqp.refresh_periods"
LAST_RECORDED = """
SELECT DISTINCT ON (table_name) table_name, is_within_threshold
FROM sqp.refresh_data_quality AS metric JOIN sqp.refresh_audit_log AS run ON run.id = audit_log_id
WHERE metric_name = 'row_count' ORDER BY table_name, metric.id DESC
"""
STANDING = f"{FAILED} WHERE needs_reload OR failed_metrics <> '{{}}'"


@pytest.fixture
def loaded(environment, source) -> Iterator[Settings]:
    """Three weeks, which all tables hold; the nights of these tests look at the last one."""
    source.write(three_weeks())
    refresh_all(environment)
    tolerate(environment.database_url, 10_000, "freshness_days")
    return environment


def refreshed(settings: Settings, table: str, *sundays: date, force: bool = False) -> RefreshResult:
    weeks = [Period.week_of(sunday) for sunday in sundays]
    source = source_for(settings, TABLES[table], weeks)
    return refresh(settings.database_url, source, RefreshRequest("r", force=force))


def checked(settings: Settings, table: str, *sundays: date) -> dict[str, Verdict]:
    weeks = [Period.week_of(sunday) for sunday in sundays] or None
    with connect(settings.database_url) as session, session.transaction():
        verdicts = run_checks(session, TABLES[table], weeks, today=LAST)
    return {verdict.metric.name: verdict for verdict in verdicts}


def assert_right(settings: Settings, source_rows: list, *tables: str) -> None:
    expected, now = oracle.expected_tables(source_rows), read_tables(settings)
    for table in tables or expected:
        oracle.assert_equal(now[table], expected[table], table)


def quality(settings: Settings) -> dict:
    """Return the line of `status` about the checks."""
    lines = json.loads(sqp_refresh("status", "--json").stdout)["lines"]
    return next(line for line in lines if line["name"] == "checked")


def test_damage_outside_the_weeks_of_a_night_is_mended_by_it_and_stays_a_no_until_then(loaded):
    url = loaded.database_url
    output("check")
    assert quality(loaded)["answer"] is True
    execute(
        url,
        f"DELETE FROM sqp.monthly_summary WHERE period_start = '{JULY}' AND asin = 'B000000001';"
        f"UPDATE sqp.daily_sqp_data SET asin_clicks = 9 WHERE report_date = '{FIRST}';"
        f"DELETE FROM sqp.{QUERIES} WHERE start_date = '{FIRST}'",
    )

    every_week = sqp_refresh("check")
    of_august = ("--table", "monthly_summary", "--from", str(LAST), "--to", str(LAST))
    other_weeks = sqp_refresh("check", *of_august)

    assert every_week.returncode == 1
    assert f"  {JULY}: the next refresh makes it again" in every_week.stdout
    assert other_weeks.returncode == 0, other_weeks.stdout
    # What was recorded last is true of the periods that failed before, too.
    assert ("monthly_summary", False) in rows(url, LAST_RECORDED)
    line = quality(loaded)
    assert line["answer"] is False
    messages = " ".join(problem["said"] for problem in line["problems"])
    assert "row_count of " in messages
    assert "monthly_summary" in messages

    night = refresh_all(loaded, LAST, LAST)

    assert list(night["monthly_summary"].loaded) == [JULY]
    assert list(night["daily_sqp_data"].loaded) == [Period.week_of(FIRST)]
    assert list(night["asin_performance_data"].loaded) == []
    assert_right(loaded, three_weeks())
    assert rows(url, STANDING) == []
    for table in TABLES:
        checked(loaded, table, LAST)
    assert quality(loaded)["answer"] is True


@pytest.mark.parametrize("force", [False, True])
def test_every_refresh_makes_exactly_the_periods_again_that_failed(loaded, force):
    execute(loaded.database_url, f"DELETE FROM sqp.{QUERIES} WHERE start_date = '{FIRST}'")
    checked(loaded, QUERIES)

    done = refreshed(loaded, QUERIES, LAST, force=force)

    also = [Period.week_of(LAST)] if force else []
    assert list(done.loaded) == [Period.week_of(FIRST), *also]
    assert done.reasons[Period.week_of(FIRST)] == "it did not equal the source"
    assert_right(loaded, three_weeks(), QUERIES)


def test_what_is_made_from_a_week_follows_it_outside_the_weeks_of_a_night(loaded, source):
    restated = three_weeks(clicks=(600, 7))
    source.replace(restated)
    refreshed(loaded, QUERIES, FIRST, MIDDLE, LAST)

    refresh_all(loaded, LAST, LAST)

    assert_right(loaded, restated, "weekly_summary", "monthly_summary", "yearly_summary")


def test_an_edit_that_no_metric_sees_is_found_where_every_period_is_judged(loaded):
    edit = f"UPDATE sqp.monthly_summary SET ctr = 99 WHERE period_start = '{JULY}'"
    execute(loaded.database_url, edit)

    assert f"  {JULY}: the next refresh makes it again" in output("check")
    planned = json.loads(output("plan", "--from", str(LAST), "--to", str(LAST), "--json"))

    assert [(line["table"], line["period"]) for line in planned if line["copy"]] == [
        ("monthly_summary", str(JULY))
    ]
    assert list(refreshed(loaded, "monthly_summary", LAST).loaded) == [JULY]
    assert_right(loaded, three_weeks())


def test_a_failed_check_that_no_load_can_mend_stays_but_is_not_loaded_every_night(
    environment, source
):
    source.write(three_weeks(volume=None, clicks=(0, 0), cart_adds=(0, 0), purchases=(0, 0)))
    refreshed(environment, QUERIES, FIRST, LAST)
    assert checked(environment, QUERIES)["null_ratio"].ok is False

    again = checked(environment, QUERIES, LAST)

    assert refreshed(environment, QUERIES, LAST).loaded == {}
    assert [failing.period for failing in again["null_ratio"].failing] == [str(LAST)]
    standing = rows(environment.database_url, STANDING)
    assert [(start, reload) for _, start, _, reload in standing] == [(FIRST, False), (LAST, False)]


def test_a_damaged_week_that_the_source_no_longer_has_stays_a_no(loaded, source):
    execute(
        loaded.database_url,
        f"DELETE FROM sqp.{QUERIES} WHERE start_date = '{FIRST}' AND asin = 'B000000001'",
    )
    checked(loaded, QUERIES)
    source.replace([row for row in three_weeks() if row["Date"] != FIRST])

    done = refreshed(loaded, QUERIES, LAST)

    assert "is empty in the source; 2 rows of it were kept" in done.warnings[0]
    checked(loaded, QUERIES)
    ((table, start, metrics, _),) = rows(loaded.database_url, STANDING)
    assert (table, start) == (QUERIES, FIRST)
    assert "row_count" in metrics
    source.replace(three_weeks())
    refreshed(loaded, QUERIES, FIRST)
    assert rows(loaded.database_url, STANDING) == []
    assert_right(loaded, three_weeks(), QUERIES)


# -- judged only by what it was made from ----------------------------------------------------------


def test_a_period_is_not_judged_by_weeks_that_another_run_has_published_meanwhile(
    environment, source
):
    source.write(three_weeks())
    judged = {}
    for number, sunday in enumerate((MIDDLE, LAST)):
        refreshed(environment, QUERIES, sunday)
        if number == 0:
            refreshed(environment, MONTHS.name, sunday)
        # The run of the first week judges August while the second week is in its parent only.
        judged[sunday] = checked(environment, MONTHS.name, MIDDLE)
    refreshed(environment, MONTHS.name, LAST)
    last = checked(environment, MONTHS.name, LAST)

    assert judged[MIDDLE]["row_count"].ok
    for name in ("row_count", "distinct_asin_count", "sum_asin_click_count"):
        verdict = judged[LAST][name]
        assert verdict.ok is None
        assert {verdict.of(measurement) for measurement in verdict.measurements} == {"not judged"}
        assert last[name].ok
    assert rows(environment.database_url, STANDING) == []


def test_a_week_that_is_published_while_it_is_measured_is_not_judged(loaded, source, monkeypatch):
    measure = metric_sql.measure

    def publish_and_measure(*arguments):
        source.replace(three_weeks(clicks=(600, 7)))
        refreshed(loaded, QUERIES, LAST)
        return measure(*arguments)

    monkeypatch.setattr(metric_sql, "measure", publish_and_measure)
    verdict = checked(loaded, QUERIES, MIDDLE, LAST)["sum_asin_click_count"]

    assert [verdict.of(measurement) for measurement in verdict.measurements] == [
        "PASS",
        "not judged",
    ]
    assert rows(loaded.database_url, STANDING) == []


def test_a_period_is_not_reconciled_with_a_week_that_is_published_while_it_is_loaded(
    loaded, source, monkeypatch
):
    restated = three_weeks(clicks=(600, 7))
    expected_of_derived = metric_sql.expected_of_derived

    def publish_and_measure(*arguments):
        source.replace(restated)
        refreshed(loaded, QUERIES, LAST)
        return expected_of_derived(*arguments)

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(metric_sql, "expected_of_derived", publish_and_measure)
        done = refreshed(loaded, MONTHS.name, LAST, force=True)

    assert (len(done.loaded), done.differences, done.warnings) == (1, [], [])
    assert rows(loaded.database_url, STANDING) == []
    refreshed(loaded, MONTHS.name, MIDDLE)
    kept = [row for row in three_weeks() if row["Date"] != LAST]
    new = [row for row in restated if row["Date"] == LAST]
    assert_right(loaded, [*kept, *new], MONTHS.name)


def test_a_ledger_row_of_another_grain_is_never_made_again(loaded):
    execute(
        loaded.database_url,
        "INSERT INTO sqp.refresh_periods (table_name, period_start, period_end, target_state,"
        " row_count, changed_by, published_by, needs_reload, failed_metrics)"
        " VALUES ('daily_sqp_data', '0001-01-01', '9999-12-31', '', 1, 1, 1, true, '{row_count}'),"
        " ('daily_sqp_data', '2025-07-01', '2025-07-31', '', 1, 1, 1, true, '{row_count}')",
    )

    with connect(loaded.database_url) as session:
        assert periods_to_repair(session, TABLES["daily_sqp_data"]) == []
