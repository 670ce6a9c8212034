"""Read the monitoring views of schema `sqp`: status, history, doctor and dashboard read them here.

Anybody with the right to the views sees the same figures in SQL, or over Supabase's REST. Each
dataclass has the names of the columns that it is read from.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row, dict_row

from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import SCHEMA, in_schema

VIEWS = (
    "refresh_success_rate",
    "data_quality_overview",
    "refresh_runs",
    "refresh_nightly",
    "refresh_retries",
    "refresh_costs",
    "refresh_weeks",
    "refresh_freshness",
    "refresh_quality",
    "refresh_status",
    "restatements",
    "week_finality",
    "latest_final_week",
)

_FRESHNESS = in_schema("""
SELECT table_name, is_enabled, newest_period_start, newest_period_end, days_behind, row_count,
    CASE WHEN isfinite(last_refresh_at) THEN last_refresh_at END AS last_refresh_at,
    least(greatest(next_refresh_at, '1970-01-01 00:00Z'), '9000-01-01 00:00Z') AS next_refresh_at,
    least(refresh_frequency_hours, 876000) AS refresh_frequency_hours, last_started_at, last_status,
    last_message, landing_lag_hours::float8 AS landing_lag_hours,
    (
        SELECT max(tick) FROM sqp.refresh_runs AS run WHERE run.table_name = fresh.table_name
    ) AS last_tick,
    EXISTS (
        SELECT FROM sqp.refresh_runs AS run
        WHERE run.table_name = fresh.table_name AND completed_at IS NULL
    ) AS is_running
FROM sqp.refresh_freshness AS fresh
ORDER BY priority DESC, table_name
""")
_SERVED_TICKS = in_schema("""
SELECT table_name, tick, bool_or(
    completed_at IS NOT NULL AND status IN ('success', 'warning') AND launched_by <> 'person'
)
FROM sqp.refresh_runs WHERE tick IS NOT NULL
GROUP BY table_name, tick ORDER BY tick
""")
_NIGHTS = in_schema("""
SELECT table_name, night AS day, status, error_message AS message, runs AS refreshes, successes,
    (coalesce(execution_time_ms, 0) / 1000.0)::float8 AS seconds,
    coalesce(rows_processed, 0) AS read, coalesce(rows_inserted, 0) AS inserted,
    coalesce(rows_updated, 0) AS updated, coalesce(rows_deleted, 0) AS deleted
FROM sqp.refresh_nightly
WHERE night >= %(since)s
ORDER BY table_name, night
""")
_LAST_METRICS = in_schema("""
SELECT table_name, night, metric_name AS name, metric_value::float8 AS value,
    expected_value::float8 AS expected, threshold_min::float8 AS minimum,
    threshold_max::float8 AS maximum, is_within_threshold
FROM sqp.refresh_quality
WHERE (table_name, audit_log_id) IN (
    SELECT table_name, max(audit_log_id) FROM sqp.refresh_quality GROUP BY table_name
)
ORDER BY metric_name, table_name
""")
# A night may have judged a metric more than once; the last run's verdict is that of the night.
_NIGHTLY_METRICS = in_schema("""
SELECT DISTINCT ON (table_name, night, metric_name)
    table_name, night, metric_name AS name, metric_value::float8 AS value,
    expected_value::float8 AS expected, threshold_min::float8 AS minimum,
    threshold_max::float8 AS maximum, is_within_threshold
FROM sqp.refresh_quality
WHERE night >= %(since)s
ORDER BY table_name, night, metric_name, audit_log_id DESC
""")
_LAST_RUN_IDS = in_schema("""
SELECT DISTINCT ON (table_name) table_name, run_id FROM sqp.refresh_runs
WHERE completed_at IS NOT NULL AND run_id IS NOT NULL
ORDER BY table_name, audit_log_id DESC
""")
_HISTORY = in_schema("""
SELECT audit_log_id, started_at, status, launched_by, rerun, weeks_copied, weeks_skipped,
    weeks_rejected, rows_processed, rows_inserted, rows_updated, rows_deleted, rows_quarantined,
    bytes_billed, execution_time_ms, run_id, error_message
FROM sqp.refresh_runs WHERE table_name = %(table)s
ORDER BY audit_log_id DESC LIMIT %(limit)s
""")


@dataclass(frozen=True, slots=True)
class TableFreshness:
    """How fresh a registered table is, and when it was and will be refreshed.

    Attributes:
        table_name: Name of the table in schema sqp.
        is_enabled: Whether it may be refreshed.
        newest_period_start: First day of the newest week, or longer period, that has a row.
        newest_period_end: Last day of that period.
        days_behind: Days since that ended, 0 while it lasts; None for a table without weeks or
            rows.
        row_count: Rows in the table (count).
        last_refresh_at: When a refresh last went through, with or without a warning.
        next_refresh_at: From when on it is due.
        refresh_frequency_hours: Hours between two refreshes.
        last_started_at: When a refresh last began.
        last_status: How the last finished refresh ended: success, warning or failed; None where
            there is none in the last 90 days.
        last_message: The error or warning of that refresh.
        last_tick: The latest tick of the schedule that a run of the table served.
        is_running: Whether a refresh of it is running.
        landing_lag_hours: From the last change of the vendor's table to the end of the refresh that
            last brought one (hours); None where that is not known.
    """

    table_name: str
    is_enabled: bool
    newest_period_start: date | None
    newest_period_end: date | None
    days_behind: int | None
    row_count: int
    last_refresh_at: datetime | None
    next_refresh_at: datetime
    refresh_frequency_hours: int
    last_started_at: datetime | None
    last_status: str | None
    last_message: str | None
    last_tick: datetime | None
    is_running: bool
    landing_lag_hours: float | None = None


@dataclass(frozen=True, slots=True)
class MetricResult:
    """One quality metric of one table in one night, in the unit of the metric.

    Attributes:
        table_name: Name of the table.
        night: The day in UTC.
        name: Name of the metric.
        value: What Postgres holds; None where it could not be measured.
        expected: What BigQuery says; None where the metric has no counterpart there.
        minimum: The least that it may be.
        maximum: The most that it may be.
        is_within_threshold: The verdict; None where nothing says what the metric should be.
    """

    table_name: str
    night: date
    name: str
    value: float | None
    expected: float | None
    minimum: float | None
    maximum: float | None
    is_within_threshold: bool | None


@dataclass(frozen=True, slots=True)
class Night:
    """What the finished refreshes of one night did to one table.

    Attributes:
        table_name: Name of the table.
        day: The day in UTC.
        status: How the last refresh ended: success, warning or failed.
        message: The error or warning of the last refresh.
        refreshes: Refreshes that ended; more than one where a failed one was run again (count).
        successes: Those that were a success (count).
        seconds: How long they took together.
        read: Rows read or computed (count).
        inserted: Rows that were new (count).
        updated: Rows that changed (count).
        deleted: Rows that vanished (count).
        metrics: The metrics as they were last judged in that night.
    """

    table_name: str
    day: date
    status: str
    message: str | None
    refreshes: int
    successes: int
    seconds: float
    read: int
    inserted: int
    updated: int
    deleted: int
    metrics: Sequence[MetricResult] = ()

    @property
    def changed(self) -> int:
        """Rows inserted, updated and deleted."""
        return self.inserted + self.updated + self.deleted

    @property
    def judged(self) -> list[MetricResult]:
        """The metrics that have a verdict."""
        return [metric for metric in self.metrics if metric.is_within_threshold is not None]

    @property
    def failing(self) -> list[MetricResult]:
        """The metrics that are not within their thresholds."""
        return [metric for metric in self.metrics if metric.is_within_threshold is False]

    @property
    def freshness_days(self) -> MetricResult | None:
        """The metric of the days since the newest week ended; None where it was not measured."""
        ages = (metric for metric in self.metrics if metric.name == "freshness_days")
        return next((metric for metric in ages if metric.value is not None), None)


ServedTicks = Mapping[str, Mapping[datetime, bool]]
"""By table, the ticks that a run served, and whether one went through that no person launched."""


def read_freshness(session: Session) -> list[TableFreshness]:
    """Read every registered table, the highest priority first."""
    return session.fetch_all(_FRESHNESS, row_factory=class_row(TableFreshness))


def read_served_ticks(session: Session) -> ServedTicks:
    """Read the ticks of the schedule that runs served in the last 90 days, in order of time."""
    served: dict[str, dict[datetime, bool]] = {}
    for table, tick, went_through in session.fetch_all(_SERVED_TICKS):
        served.setdefault(table, {})[tick] = went_through
    return served


def read_nights(session: Session, since: date) -> list[Night]:
    """Read the nights of every table since a day, with their metrics, by table and in order."""
    params = {"since": since}
    metrics: dict[tuple[str, date], list[MetricResult]] = {}
    for metric in session.fetch_all(_NIGHTLY_METRICS, params, row_factory=class_row(MetricResult)):
        metrics.setdefault((metric.table_name, metric.night), []).append(metric)
    return [
        replace(night, metrics=metrics.get((night.table_name, night.day), ()))
        for night in session.fetch_all(_NIGHTS, params, row_factory=class_row(Night))
    ]


def read_last_metrics(session: Session) -> list[MetricResult]:
    """Read the metrics of each table's last judged run, by metric."""
    return session.fetch_all(_LAST_METRICS, row_factory=class_row(MetricResult))


def read_last_run_ids(session: Session) -> dict[str, str]:
    """Read which Dagster run last refreshed each table, within the last 90 days."""
    return dict(session.fetch_all(_LAST_RUN_IDS))


def count_rows(session: Session) -> dict[str, int]:
    """Count the rows that each of the monitoring views shows."""
    query = sql.SQL("SELECT count(*) FROM {}")
    return {
        view: session.fetch_one(query.format(sql.Identifier(SCHEMA, view)))[0] for view in VIEWS
    }


def read_history(session: Session, table: str, limit: int) -> list[dict[str, Any]]:
    """Read the last runs of a table, the latest first, by the columns of `refresh_runs`."""
    params = {"table": table, "limit": limit}
    return session.fetch_all(_HISTORY, params, row_factory=dict_row)
