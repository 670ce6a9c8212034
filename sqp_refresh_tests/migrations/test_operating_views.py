"""Read the operators' views: runs, nights, retries, costs, weeks, freshness, quality."""

import json
from datetime import date, timedelta
from typing import Any, LiteralString

import pytest

from sqp_refresh.postgres import migrate
from sqp_refresh_tests.migrations.servers import Database

RUN = """
INSERT INTO sqp.refresh_audit_log (
    table_name, status, refresh_started_at, refresh_completed_at, execution_time_ms,
    rows_processed, error_message, error_details, sync_metadata
)
SELECT %s, %s, started, started + interval '1 minute', 60000, 10, %s, %s::jsonb, %s::jsonb
FROM (SELECT date_trunc('day', now(), 'UTC') - %s * interval '1 day' AS started) AS of
RETURNING id
"""
PERIOD = """
INSERT INTO sqp.refresh_periods (
    table_name, period_start, period_end, source_state, target_state, row_count, changed_by,
    published_by
)
VALUES ('weekly_summary', %s, %s::date + 6, %s::jsonb, '', %s, %s, %s)
"""
WEEKS = [date(2025, 7, 27), date(2025, 8, 3), date(2025, 8, 10), date(2025, 8, 17)]


@pytest.fixture
def operated(database_18: Database) -> Database:
    migrate.upgrade(database_18.url)
    return database_18


def run(
    database: Database,
    table: str = "weekly_summary",
    status: str = "success",
    *,
    days_ago: int = 0,
    kind: str | None = None,
    **metadata: Any,
) -> int:
    details = json.dumps({"kind": kind}) if kind else None
    values = (table, status, kind, details, json.dumps(metadata), days_ago)
    return database.rows(RUN, *values)[0][0]


def period(
    database: Database, week: date, by: int, state: str | None = "{}", rows: int = 4
) -> None:
    database.rows(PERIOD, week, week, state, rows, by, by)


def only_row(database: Database, query: LiteralString) -> tuple[Any, ...]:
    (row,) = database.rows(query)
    return row


def test_a_night_is_that_of_its_tick_and_adds_up_its_runs(operated: Database):
    tick = only_row(operated, "SELECT date_trunc('day', now(), 'UTC') - interval '22 hours'")[0]
    night = {"tick": tick.isoformat(), "weeks": ["2025-08-10"], "skipped": ["2025-08-03"]}
    run(operated, status="failed", kind="quota", launched_by="schedule", **night)
    run(operated, launched_by="sensor", rerun=1, resumes="r", bytes_billed=7, **night)
    run(operated, launched_by="person", bytes_billed=5, days_ago=3)

    yesterday, earlier = operated.rows(
        "SELECT night - (now() AT TIME ZONE 'UTC')::date, runs, successes, status,"
        " execution_time_ms, weeks_copied, rows_processed FROM sqp.refresh_nightly"
        " ORDER BY night DESC"
    )
    assert yesterday == (-1, 2, 1, "success", 120_000, 2, 20)
    assert earlier == (-3, 1, 1, "success", 60_000, None, 10)
    assert only_row(operated, "SELECT * FROM sqp.refresh_retries")[2:] == (2, 1, 1, 1, 0, "quota")
    costs = operated.rows("SELECT bytes_billed FROM sqp.refresh_costs ORDER BY night")
    assert costs == [(5,), (7,)]


def test_a_week_says_how_it_stands(operated: Database):
    published, later = run(operated), run(operated, rejected=[str(WEEKS[1]), str(WEEKS[3])])
    period(operated, WEEKS[0], published, rows=0)
    period(operated, WEEKS[1], published)
    period(operated, WEEKS[2], published, state=None)
    operated.rows(
        "INSERT INTO sqp.refresh_quarantine"
        " (audit_log_id, table_name, period_start, raw_row, reasons)"
        " VALUES (%s, 'weekly_summary', %s, '{}', '{x}')",
        later,
        WEEKS[3],
    )
    stands = "SELECT period_start, status, row_count, rows_in_quarantine FROM sqp.refresh_weeks"

    assert operated.rows(f"{stands} ORDER BY 1") == [
        (WEEKS[0], "empty", 0, 0),
        (WEEKS[1], "rejected", 4, 0),
        (WEEKS[2], "kept", 4, 0),
        (WEEKS[3], "rejected", 0, 1),
    ]
    run(operated, skipped=[str(WEEKS[1])])
    period(operated, WEEKS[3], run(operated))
    operated.run("UPDATE sqp.refresh_periods SET needs_reload = period_start = '2025-08-17'")
    assert operated.rows(f"{stands} WHERE period_start = ANY (%s) ORDER BY 1", WEEKS[1::2]) == [
        (WEEKS[1], "published", 4, 0),
        (WEEKS[3], "doubted", 4, 1),
    ]


def test_a_table_without_weeks_may_be_rejected_too(operated: Database):
    run(operated, table="prices", rejected=["the whole table"])

    assert only_row(operated, "SELECT period_start, period_end, status FROM sqp.refresh_weeks") == (
        date.min,
        date.max,
        "rejected",
    )


def test_freshness_is_that_of_the_newest_week_with_a_row(operated: Database):
    audit_id = run(operated, days_ago=1)
    run(operated, status="failed", kind="quota")
    operated.rows(
        "INSERT INTO sqp.refresh_audit_log (table_name, refresh_started_at)"
        " VALUES ('weekly_summary', now() + interval '1 second')"
    )
    today = only_row(operated, "SELECT (now() AT TIME ZONE 'UTC')::date")[0]
    period(operated, WEEKS[0], audit_id)
    period(operated, WEEKS[1], audit_id, rows=0)

    fresh = only_row(
        operated,
        "SELECT newest_period_end, days_behind, row_count, last_status, last_message,"
        " last_successful_refresh < last_started_at, next_refresh_at IS NULL"
        " FROM sqp.refresh_freshness WHERE table_name = 'weekly_summary'",
    )
    ended = date(2025, 8, 2)
    assert fresh == (ended, (today - ended).days, 4, "failed", "quota", True, False)
    others = operated.rows(
        "SELECT DISTINCT days_behind, row_count, last_status FROM sqp.refresh_freshness"
        " WHERE table_name <> 'weekly_summary'"
    )
    assert others == [(None, 0, None)]


def test_the_landing_lag_is_that_of_the_last_refresh_that_brought_something(operated: Database):
    changed = only_row(operated, "SELECT date_trunc('day', now(), 'UTC') - interval '30 hours'")[0]
    for days_ago in (2, 1, 0):
        run(operated, days_ago=days_ago, source_changed_at=changed.isoformat())
    operated.rows(
        "UPDATE sqp.refresh_audit_log SET rows_inserted = 4, rows_updated = 0, rows_deleted = 0"
        " WHERE refresh_started_at < now() - interval '1 day' RETURNING id"
    )

    lags = operated.rows(
        "SELECT table_name, landing_lag_hours::float8 FROM sqp.refresh_freshness"
        " WHERE landing_lag_hours IS NOT NULL"
    )

    assert lags == [("weekly_summary", 6.0)]


def test_quality_is_each_metric_as_last_judged(operated: Database):
    audit_id = run(operated)
    for value in (1, 2):
        operated.rows(
            "INSERT INTO sqp.refresh_data_quality (audit_log_id, metric_name, metric_value)"
            " VALUES (%s, 'row_count', %s)",
            audit_id,
            value,
        )

    assert operated.rows("SELECT metric_name, metric_value FROM sqp.refresh_quality") == [
        ("row_count", 2)
    ]


def test_every_column_of_a_view_that_counts_says_its_unit(operated: Database):
    unsaid = operated.rows(
        "SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        " WHERE relnamespace = 'sqp'::regnamespace AND relkind = 'v' AND attnum > 0"
        " AND attname ~ '^(rows_|weeks_|row_|bytes_|days_|execution_)'"
        " AND coalesce(col_description(attrelid, attnum), '') !~* '(count|bytes|milliseconds|days)'"
    )
    assert unsaid == []


def test_the_status_is_one_row_that_says_why(operated: Database):
    tables = [name for (name,) in operated.rows("SELECT table_name FROM sqp.refresh_config")]
    status = "SELECT status, why FROM sqp.refresh_status"
    later = "UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 day'"
    operated.run(later)
    assert only_row(operated, status)[0] == "degraded"
    tick = only_row(operated, "SELECT date_trunc('hour', now()) - interval '20 hours'")[0]
    for table in tables:
        run(operated, table, tick=tick.isoformat())

    row = only_row(
        operated,
        "SELECT status, why, last_night, next_night = (SELECT min(next_refresh_at) FROM"
        " sqp.refresh_config), newest_final_week FROM sqp.refresh_status",
    )

    all_is_well = "every enabled table was refreshed as it should be"
    assert row == ("healthy", all_is_well, tick, True, None)
    period(operated, WEEKS[0], 1)
    operated.run("UPDATE sqp.refresh_periods SET failed_metrics = '{row_count}'")
    operated.run(
        "INSERT INTO sqp.refresh_requests (requested_at) VALUES (now() - interval '1 hour')"
    )
    verdict, why = only_row(operated, status)
    assert verdict == "degraded"
    assert why.startswith(
        "weekly_summary fails row_count in 1 of its periods; request 1 waits since"
    )

    run(operated, "daily_sqp_data", "failed", kind="quota")
    overdue = "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '25.1 hours'"
    operated.run(f"{overdue} WHERE table_name = 'yearly_summary'")
    verdict, why = only_row(operated, status)
    assert verdict == "failing"
    assert why.startswith("daily_sqp_data failed: quota; yearly_summary has been due since ")
    # The nights were once three days apart.
    run(operated, "yearly_summary", tick=(tick - timedelta(days=3)).isoformat())
    assert "yearly_summary" not in only_row(operated, status)[1]
    operated.run("UPDATE sqp.refresh_config SET is_enabled = false")
    verdict, why = only_row(operated, status)
    assert (verdict, why.split(";")[0]) == ("failing", "every table is disabled")
