"""Test that old rows leave the control tables, and nothing that is still needed is lost."""

from typing import Any

import psycopg
import pytest

from sqp_refresh.control.maintenance import archive_runs, maintain
from sqp_refresh.errors import RefreshError
from sqp_refresh.monitoring.views import VIEWS
from sqp_refresh.postgres.session import connect
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.database import execute, rows

HISTORY = """
INSERT INTO sqp.refresh_audit_log
    (table_name, status, refresh_started_at, refresh_completed_at, rows_processed, sync_metadata)
SELECT name, CASE WHEN age % 5 = 0 THEN 'failed' ELSE 'success' END, started,
    started + interval '1 minute', age, jsonb_build_object('run_id', age, 'bytes_billed', age)
FROM (VALUES ('weekly_summary'), ('daily_sqp_data')) AS of (name), generate_series(0, 120) AS age,
    LATERAL (SELECT now() - age * interval '1 day' AS started) AS at
ORDER BY age DESC;
INSERT INTO sqp.refresh_data_quality (audit_log_id, metric_name, metric_value, is_within_threshold)
SELECT id, metric, rows_processed, true
FROM sqp.refresh_audit_log, unnest(ARRAY['row_count', 'volume_ratio']) AS metric
WHERE status = 'success';
"""
EVERYTHING = """
SELECT to_jsonb(run)::text, (
    SELECT coalesce(jsonb_agg(to_jsonb(metric) ORDER BY metric.id), '[]')
    FROM sqp.refresh_data_quality AS metric WHERE audit_log_id = run.id
)::text
FROM sqp.refresh_audit_log AS run
UNION ALL
SELECT (to_jsonb(run) - 'data_quality' - 'archived_at')::text, data_quality::text
FROM sqp.refresh_audit_log_archive AS run
ORDER BY 1
"""


@pytest.fixture
def history(migrated_database: str) -> str:
    """Return a database with 121 nights of two tables, and two metrics of every success."""
    execute(migrated_database, HISTORY)
    return migrated_database


def counts_of(url: str, **changed: int) -> dict[str, int]:
    """Do every duty, and return what it counts, where that is not 0."""
    settings = Settings.read().model_copy(update=changed)
    with connect(url) as session:
        return {duty: count for duty, count in maintain(session, settings).items() if count}


def rows_of_views(url: str) -> dict[str, list[Any]]:
    """Return all rows of all monitoring views."""
    return {
        view: rows(url, f"SELECT line::text FROM sqp.{view} AS line ORDER BY 1") for view in VIEWS
    }


def archived(url: str) -> list[tuple]:
    return rows(url, "SELECT id FROM sqp.refresh_audit_log_archive")


def test_runs_over_90_days_are_moved_with_their_metrics_and_no_view_notices(history):
    before, views = rows(history, EVERYTHING), rows_of_views(history)

    assert counts_of(history) == {"runs_archived": 62}

    assert rows(history, EVERYTHING) == before
    assert rows_of_views(history) == views
    kept = "SELECT max(now() - refresh_started_at) < interval '90 days 1 minute', count(*)"
    assert rows(history, f"{kept} FROM sqp.refresh_audit_log") == [(True, 180)]
    assert counts_of(history) == {}


def test_what_the_next_refresh_compares_itself_with_stays(history):
    execute(
        history,
        "DELETE FROM sqp.refresh_data_quality;"
        "DELETE FROM sqp.refresh_audit_log WHERE refresh_started_at > now() - interval '100 days';"
        """UPDATE sqp.refresh_audit_log SET sync_metadata = '{"source_schema": {}}'"""
        " WHERE rows_processed = 110",
    )

    counts_of(history)

    left = "SELECT table_name, rows_processed FROM sqp.refresh_audit_log ORDER BY 1, 2"
    tables = ("daily_sqp_data", "weekly_summary")
    assert rows(history, left) == [(table, age) for table in tables for age in (100, 110)]


def test_a_run_stays_while_a_row_that_it_put_into_quarantine_is_kept(history):
    execute(
        history,
        "INSERT INTO sqp.refresh_quarantine"
        " (audit_log_id, table_name, raw_row, reasons, created_at, replayed_at)"
        " SELECT id, table_name, '{}', '{x}', now() - interval '2 years', replayed"
        " FROM sqp.refresh_audit_log JOIN (VALUES (119, now() - interval '366 days'),"
        " (118, now()), (117, NULL)) AS of (age, replayed) ON age = rows_processed"
        " WHERE table_name = 'weekly_summary'",
    )

    assert counts_of(history) == {"quarantined_rows_deleted": 1, "runs_archived": 60}

    stay = "SELECT rows_processed FROM sqp.refresh_audit_log WHERE rows_processed > 90 ORDER BY 1"
    assert rows(history, stay) == [(117,), (118,)]
    assert counts_of(history, REFRESH_KEEP_QUARANTINE_DAYS=10_000) == {}


def test_a_run_that_is_open_is_not_moved(history):
    execute(history, "UPDATE sqp.refresh_audit_log SET refresh_completed_at = NULL")

    assert counts_of(history) == {}


def test_nothing_moves_where_something_would_be_lost(history):
    """A trigger that somebody added keeps rows out of the archive."""
    execute(
        history,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN CASE WHEN NEW.id % 2 = 0 THEN NEW END; END';"
        "CREATE TRIGGER refuse BEFORE INSERT ON sqp.refresh_audit_log_archive"
        " FOR EACH ROW EXECUTE FUNCTION refuse()",
    )
    before = rows(history, EVERYTHING)

    with (
        pytest.raises(RefreshError, match="of 62 runs and 96 metrics to archive, 31 and 48"),
        connect(history) as session,
        session.transaction(),
    ):
        archive_runs(session)

    assert rows(history, EVERYTHING) == before


def test_an_alert_about_an_archived_run_outlives_it(history):
    execute(
        history,
        "INSERT INTO sqp.webhook_deliveries (audit_log_id, event, payload, status, created_at)"
        " SELECT id, 'refresh.failed', '{}', of.status, now() - age * interval '1 day'"
        " FROM sqp.refresh_audit_log, (VALUES ('pending', 400), ('delivered', 29),"
        " ('delivered', 31), ('exhausted', 31)) AS of (status, age)"
        " WHERE rows_processed = 119 AND table_name = 'weekly_summary'",
    )

    assert counts_of(history) == {"deliveries_deleted": 2, "runs_archived": 62}

    kept = "SELECT status, audit_log_id FROM sqp.webhook_deliveries ORDER BY id"
    assert rows(history, kept) == [("pending", None), ("delivered", None)]


def test_checkpoints_are_closed_when_they_expire_and_what_is_old_is_deleted(
    migrated_database,
):
    execute(
        migrated_database,
        "ALTER TABLE sqp.refresh_checkpoints DISABLE TRIGGER USER;"
        "INSERT INTO sqp.refresh_checkpoints"
        " (function_name, table_name, status, updated_at, expires_at) VALUES"
        " ('refresh', 'at_work', 'active', now() - interval '1 hour', now() + interval '23 hours'),"
        " ('refresh', 'interrupted', 'active', now(), now() - interval '1 second'),"
        " ('refresh', 'done', 'completed', now() - interval '6 days', now()),"
        " ('refresh', 'long_done', 'completed', now() - interval '8 days', now()),"
        " ('refresh', 'stopped', 'expired', now() - interval '8 days', now());"
        "INSERT INTO sqp.refresh_requests (status, completed_at) VALUES ('pending', NULL),"
        " ('done', now() - interval '91 days'), ('failed', now() - interval '89 days')",
    )

    assert counts_of(migrated_database) == {
        "checkpoints_closed": 1,
        "checkpoints_deleted": 2,
        "requests_deleted": 1,
    }

    left = "SELECT table_name, status FROM sqp.refresh_checkpoints ORDER BY id"
    assert rows(migrated_database, left) == [
        ("at_work", "active"),
        ("interrupted", "expired"),
        ("done", "completed"),
    ]
    assert counts_of(migrated_database) == {}


def test_a_metric_keeps_its_numbers_in_the_archive(history):
    counts_of(history)

    ((data_quality,),) = rows(
        history,
        "SELECT data_quality FROM sqp.refresh_audit_log_archive"
        " WHERE rows_processed = 119 AND table_name = 'weekly_summary'",
    )
    assert [(metric["metric_name"], metric["metric_value"]) for metric in data_quality] == [
        ("row_count", 119),
        ("volume_ratio", 119),
    ]


def test_a_metric_that_is_being_added_is_not_lost(history):
    """Adding one to a run that is being moved fails, and the archive holds the others."""
    old = "(SELECT min(id) FROM sqp.refresh_audit_log WHERE rows_processed = 119)"
    with psycopg.connect(history) as other, connect(history) as session, session.transaction():
        archive_runs(session)
        other.execute("SET lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable):
            other.execute(
                "INSERT INTO sqp.refresh_data_quality (audit_log_id, metric_name)"
                f" VALUES ({old}, 'late')".encode()
            )
    assert len(archived(history)) == 62
