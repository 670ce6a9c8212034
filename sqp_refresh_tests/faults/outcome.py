"""Refresh search_query_performance over the three weeks, and check what is there afterwards."""

import time
from collections.abc import Sequence

import psycopg
import pytest

from sqp_refresh.errors import Kind, Transient
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import Source
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.database import rows
from sqp_refresh_tests.helpers.weeks import WEEKS, three_weeks

TABLE = "search_query_performance"
LONGEST_S = 30


def refreshed(
    run_id: str, weeks: Sequence[Period] = WEEKS, source: Source | None = None
) -> RefreshResult:
    settings = Settings.read()
    source = source or BigQuerySource(settings, SEARCH_QUERY_PERFORMANCE, weeks)
    return refresh(settings.database_url, source, RefreshRequest(run_id))


def fails(run_id: str, kind: Kind = Kind.TRANSIENT, source: Source | None = None) -> None:
    """Assert that a refresh fails within its deadlines, as transient, and is logged as failed."""
    began = time.monotonic()
    with pytest.raises(Transient) as raised:
        refreshed(run_id, source=source)
    assert time.monotonic() - began < LONGEST_S

    (*others, (run, status, message, details, is_closed)) = log()
    assert (run, status, is_closed) == (run_id, "failed", True)
    assert message == str(raised.value)
    assert "\n" not in message
    assert (details["kind"], details["retryable"]) == (kind, True)
    assert run_id not in [other[0] for other in others]


def assert_published(weeks: Sequence[Period]) -> None:
    """Assert that the table holds these weeks of the source, to the last value, and no other."""
    days = {day for week in weeks for day in (week.start, week.end)}
    expected = {
        key: values
        for key, values in oracle.expected_tables(three_weeks())[TABLE].items()
        if days.intersection(key)
    }
    assert len(expected) == 4 * len(weeks)
    with psycopg.connect(Settings.read().database_url) as connection:
        oracle.assert_equal(oracle.read_table(connection, TABLE), expected, TABLE)


def assert_succeeded(run_id: str, rows_read: int = 12) -> None:
    """Assert that the run has one row in the log, a success that counts each row read once."""
    entries = rows(
        Settings.read().database_url,
        "SELECT status, rows_processed, error_message FROM sqp.refresh_audit_log"
        f" WHERE sync_metadata->>'run_id' = '{run_id}'",
    )
    assert entries == [("success", rows_read, None)]


def log() -> list[tuple]:
    """Return run, status, message, details and whether it is closed, of each refresh."""
    return rows(
        Settings.read().database_url,
        "SELECT sync_metadata->>'run_id', status, error_message, error_details,"
        " refresh_completed_at IS NOT NULL FROM sqp.refresh_audit_log ORDER BY id",
    )
