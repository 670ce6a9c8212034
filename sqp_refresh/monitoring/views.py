"""The monitoring views as values: what `status`, `history` and the doctor read, and nothing else.

Anybody with the right to the views sees the same figures in SQL, or over Supabase's REST.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import sql

from sqp_refresh.postgres.session import Session

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
)

_FRESHNESS = sql.SQL("""
SELECT table_name, is_enabled, newest_period_start, days_behind, row_count, last_refresh_at,
    next_refresh_at, refresh_frequency_hours, last_status, last_message
FROM sqp.refresh_freshness
ORDER BY priority DESC, table_name
""")
_TICKS = sql.SQL("""
SELECT table_name, tick, bool_or(
    completed_at IS NOT NULL AND status IN ('success', 'warning') AND launched_by <> 'person'
)
FROM sqp.refresh_runs WHERE tick IS NOT NULL
GROUP BY table_name, tick ORDER BY tick
""")
_JUDGED = sql.SQL("""
SELECT table_name, metric_name, metric_value::float8, expected_value::float8, is_within_threshold
FROM sqp.refresh_quality
WHERE (table_name, audit_log_id) IN (
    SELECT table_name, max(audit_log_id) FROM sqp.refresh_quality GROUP BY table_name
)
ORDER BY metric_name, table_name
""")
_COUNT = sql.SQL("SELECT count(*) FROM {}")
_HISTORY = sql.SQL("""
SELECT {columns} FROM sqp.refresh_runs WHERE table_name = {table}
ORDER BY audit_log_id DESC LIMIT {limit}
""")
RUN = (
    "audit_log_id",
    "started_at",
    "status",
    "launched_by",
    "rerun",
    "weeks_copied",
    "weeks_skipped",
    "weeks_rejected",
    "rows_processed",
    "rows_inserted",
    "rows_updated",
    "rows_deleted",
    "rows_quarantined",
    "bytes_billed",
    "execution_time_ms",
    "run_id",
    "error_message",
)
"""What is told of a run, by the columns of the view."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh a registered table is, and when it was and will be refreshed.

    Attributes:
        table: Name of the table.
        is_enabled: Whether it may be refreshed.
        newest: First day of the newest week, or longer period, that has a row.
        days_behind: Days since that ended.
        rows: Rows in the table.
        last_refresh_at: When a refresh last went through.
        next_refresh_at: From when on it is due.
        frequency_hours: Hours between two refreshes.
        last_status: How the last refresh that is over ended; None where there is none.
        last_message: What that said.
    """

    table: str
    is_enabled: bool
    newest: date | None
    days_behind: int | None
    rows: int
    last_refresh_at: datetime | None
    next_refresh_at: datetime
    frequency_hours: int
    last_status: str | None
    last_message: str | None


@dataclass(frozen=True, slots=True)
class Judged:
    """One metric of a table, as its last judged run has it; `ok` is None where nothing judges."""

    table: str
    metric: str
    value: float | None
    expected: float | None
    ok: bool | None


Ticks = Mapping[str, Mapping[datetime, bool]]
"""By table, the ticks that a run took it at, and whether one went through without a person."""


def freshness(session: Session) -> list[Freshness]:
    """Every registered table, the highest priority first."""
    return [Freshness(*row) for row in session.rows(_FRESHNESS)]


def ticks(session: Session) -> Ticks:
    """The ticks of the schedule that were served in the last 90 days, in order of time."""
    found: dict[str, dict[datetime, bool]] = {}
    for table, tick, well in session.rows(_TICKS):
        found.setdefault(table, {})[tick] = well
    return found


def judged(session: Session) -> list[Judged]:
    """The metrics of each table's last judged run."""
    return [Judged(*row) for row in session.rows(_JUDGED)]


def view_sizes(session: Session) -> dict[str, int]:
    """How many rows each of the monitoring views shows."""
    return {view: session.row(_COUNT.format(sql.Identifier("sqp", view)))[0] for view in VIEWS}


def history(session: Session, table: str, limit: int) -> list[dict[str, Any]]:
    """The last runs of a table, the latest first, by the columns of `RUN`."""
    columns = sql.SQL(", ").join(map(sql.Identifier, RUN))
    named = _HISTORY.format(columns=columns, table=sql.Literal(table), limit=sql.Literal(limit))
    return [dict(zip(RUN, row, strict=True)) for row in session.rows(named)]
