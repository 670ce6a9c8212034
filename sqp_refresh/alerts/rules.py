"""Decide what is an alert, and write it in the transaction that records what happened.

A receiver is alerted of each cause once. The re-runs of a failed run belong to the run that they
all go back to, and so do its alerts: a table that fails four times in one night for one reason is
one alert.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from sqp_refresh.alerts.outbox import Alert, enqueue
from sqp_refresh.model.events import Event
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.text import listing, utc_minute
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

GOES_ON = "; it goes on"
"""Ends the message of a refresh that is marked as a warning before it is done."""

RETURNING_AUDIT_ROW = sql.SQL("""
RETURNING id AS audit_log_id, table_name AS table, status, error_message AS message,
    error_details->>'kind' AS kind, sync_metadata->>'run_id' AS run_id,
    coalesce(sync_metadata->>'root_run_id', sync_metadata->>'run_id', id::text) AS root_run_id,
    coalesce(refresh_completed_at, clock_timestamp()) AS at
""")
"""Ends a statement that writes a row of the audit log: it returns the columns of `AuditRow`."""

_FAILED_BEFORE = in_schema("""
SELECT id, error_message FROM (
    SELECT id, status, error_message FROM sqp.refresh_audit_log
    WHERE table_schema = %(schema)s AND table_name = %(table)s AND id < %(id)s
        AND refresh_completed_at IS NOT NULL
    ORDER BY id DESC LIMIT 1
) AS latest
WHERE status = 'failed'
""")
# While a refresh is at work, the rest of the night may still come. A table that failed, or that
# does not equal its source, had its own alert, which also explains why nothing below it was
# refreshed.
_OVERDUE = in_schema("""
WITH RECURSIVE alerted AS (
    SELECT config.id FROM sqp.refresh_config AS config
    JOIN sqp.refresh_audit_log AS run USING (table_schema, table_name)
    WHERE refresh_started_at >= %(tick)s
        AND (status = 'failed' OR sync_metadata->'reconciliation'->>'verdict' = 'FAIL')
    UNION
    SELECT dependent_config_id FROM sqp.refresh_dependencies
    JOIN alerted ON alerted.id = parent_config_id
    WHERE dependency_type = 'hard'
)
SELECT table_name, greatest(next_refresh_at, '1970-01-01 00:00Z') AS next_refresh_at,
    CASE WHEN isfinite(last_refresh_at) THEN last_refresh_at END AS last_refresh_at
FROM sqp.refresh_config
WHERE table_schema = %(schema)s AND is_enabled AND next_refresh_at <= %(tick)s
    AND id NOT IN (SELECT id FROM alerted)
    AND NOT EXISTS (SELECT FROM sqp.refresh_audit_log WHERE refresh_completed_at IS NULL)
ORDER BY priority DESC, table_name
""")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of the audit log as it was just written.

    Attributes:
        audit_log_id: Its id.
        table: The table that is refreshed.
        status: How the refresh is, or ended.
        message: Why it failed, or is a warning.
        kind: What sort of failure it is.
        run_id: The run that it belongs to.
        root_run_id: The run that that one is a re-run of; the same where it is none.
        at: When the refresh ended; now where it goes on.
    """

    audit_log_id: int
    table: str
    status: str
    message: str | None
    kind: str | None
    run_id: str | None
    root_run_id: str
    at: datetime


def alert_warning(session: Session, run: AuditRow) -> None:
    """Alert receivers of a refresh that is a warning, whether it is done or goes on."""
    # The same warning may be given while the refresh goes on, and again when it is done.
    message = (run.message or "").removesuffix(GOES_ON)
    digest = hashlib.sha256(message.encode()).hexdigest()[:16]
    enqueue(session, _alert_of(run, Event.WARNING, run.message, f"{run.root_run_id} {digest}"))


def alert_closed(session: Session, run: AuditRow) -> None:
    """Alert receivers of a refresh that ended, and of the first that succeeds after a failure."""
    if run.status == "failed":
        cause = f"{run.root_run_id} {run.kind}"
        enqueue(session, _alert_of(run, Event.FAILED, run.message, cause))
        return
    if run.status == "warning":
        alert_warning(session, run)
    else:
        enqueue(session, _alert_of(run, Event.COMPLETED, None, str(run.audit_log_id)))
    params = {"schema": SCHEMA, "table": run.table, "id": run.audit_log_id}
    for failed_id, error in session.fetch_all(_FAILED_BEFORE, params):
        message = f"it was refreshed, after it had failed: {error}"
        enqueue(session, _alert_of(run, Event.RECOVERED, message, str(failed_id)))


def alert_failed_checks(
    session: Session,
    table: Table,
    errors: Sequence[str],
    *,
    audit_log_id: int,
    metadata: Mapping[str, Any],
) -> None:
    """Alert receivers of a table whose checks found an error, once for each run.

    Args:
        session: A session in a transaction.
        table: The table.
        errors: The message of each failing check; where there is none, nobody is alerted.
        audit_log_id: The run that was checked.
        metadata: Its sync_metadata.
    """
    if not errors:
        return
    run_id = metadata.get("run_id")
    cause = metadata.get("root_run_id") or run_id or str(audit_log_id)
    message = listing(errors, "; ")
    event = Event.QUALITY_FAILED
    at = session.now()
    enqueue(session, Alert(event, table.name, message, cause, at, audit_log_id, run_id))


def alert_overdue(session: Session, tick: datetime, at: datetime) -> list[str]:
    """Alert receivers of tables that were due and not refreshed, once a night; return their names.

    Args:
        session: A session in a transaction.
        tick: When the schedule should have asked for them; what was due by then should be done.
        at: When this is found.
    """
    rows = session.fetch_all(_OVERDUE, {"schema": SCHEMA, "tick": tick})
    for table, due, last in rows:
        message = (
            f"it was due at {utc_minute(due)} and was not refreshed; the last time was "
            f"{utc_minute(last) if last else 'never'}; look for runs that are queued, "
            "or a schedule that is off"
        )
        enqueue(session, Alert(Event.OVERDUE, table, message, tick.isoformat(), at))
    return [table for table, *_ in rows]


def _alert_of(run: AuditRow, event: Event, message: str | None, cause: str) -> Alert:
    return Alert(event, run.table, message, cause, run.at, run.audit_log_id, run.run_id)
