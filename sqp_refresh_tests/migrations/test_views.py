"""Check that the two views count the refreshes of seven days, and only successes as successes."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from sqp_refresh.postgres import migrate
from sqp_refresh_tests.migrations.servers import Database

RUN = """
INSERT INTO sqp.refresh_audit_log
    (table_name, status, refresh_started_at, refresh_completed_at, execution_time_ms)
VALUES (%s, %s, now() - %s::interval, %s, %s)
RETURNING id
"""
METRIC = """
INSERT INTO sqp.refresh_data_quality (audit_log_id, metric_name, is_within_threshold)
VALUES (%s, %s, %s) RETURNING id
"""


def at(hour: int) -> datetime:
    return datetime(2025, 3, 2, hour, tzinfo=UTC)


@pytest.fixture
def monitored(database_18: Database) -> Database:
    migrate.upgrade(database_18.url)
    return database_18


def test_success_rate(monitored: Database):
    for run in (
        ("busy", "success", "3 days", at(1), 100),
        ("busy", "success", "2 days", at(2), 200),
        ("busy", "failed", "1 day", at(5), 300),
        ("busy", "warning", "5 hours", at(4), 600),
        ("busy", "running", "1 hour", None, None),
        ("busy", "success", "8 days", at(9), 9000),
        ("broken", "failed", "1 day", at(3), 50),
        ("starting", "running", "1 minute", None, None),
    ):
        monitored.rows(RUN, *run)
    assert monitored.rows("SELECT * FROM sqp.refresh_success_rate ORDER BY table_name") == [
        ("broken", Decimal(0), Decimal(50), None),
        ("busy", Decimal(50), Decimal(300), at(2)),
    ]


def test_quality_overview(monitored: Database):
    ids = {
        name: monitored.rows(RUN, "t", status, age, None, None)[0][0]
        for name, status, age in (
            ("done", "success", "1 day"),
            ("failed", "failed", "1 day"),
            ("running", "running", "1 hour"),
            ("old", "success", "8 days"),
        )
    }
    for run, metric, passed in (
        ("done", "row_count", True),
        ("done", "row_count", True),
        ("done", "row_count", None),
        ("failed", "row_count", True),
        ("failed", "row_count", False),
        ("running", "row_count", False),
        ("old", "row_count", False),
        ("done", "freshness_days", False),
        ("done", "volume_ratio", None),
    ):
        monitored.rows(METRIC, ids[run], metric, passed)
    assert monitored.rows("SELECT * FROM sqp.data_quality_overview ORDER BY metric_name") == [
        ("freshness_days", Decimal(0), 1),
        ("row_count", Decimal(75), 4),
    ]
