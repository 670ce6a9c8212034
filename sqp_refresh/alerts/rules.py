"""Decide what is an alert, and write it in the transaction that records what happened.

A receiver is alerted of each cause once. The re-runs of a failed run belong to the run that they
all go back to, and so do its alerts: a table that fails four times in one night for one reason is
one alert. So are several tables that one run leaves behind for the same reason, and weeks that are
rejected night after night as long as none of them is published.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row

from sqp_refresh.alerts import next_step
from sqp_refresh.alerts.outbox import Alert, enqueue, retract
from sqp_refresh.errors import Kind
from sqp_refresh.model.events import Event
from sqp_refresh.model.periods import ALL_TIME
from sqp_refresh.model.tables import SCHEMA, TABLES, Table
from sqp_refresh.model.text import listing, utc_minute
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

GOES_ON = "; it goes on"
"""Ends the message of a refresh that is marked as a warning before it is done."""

RETURNING_AUDIT_ROW = sql.SQL("""
RETURNING id AS audit_log_id, table_name AS table, status, error_message AS message,
    error_details->>'kind' AS kind, sync_metadata->>'run_id' AS run_id,
    coalesce(sync_metadata->>'root_run_id', sync_metadata->>'run_id', id::text) AS root_run_id,
    coalesce(refresh_completed_at, clock_timestamp()) AS at,
    coalesce(error_details->'rejected', '{}') AS rejected,
    coalesce(sync_metadata->'to_look_at', '[]') AS to_look_at,
    coalesce(sync_metadata->'reconciliation'->>'verdict' = 'FAIL', false) AS is_different
""")
"""Ends a statement that writes a row of the audit log: it returns the columns of `AuditRow`."""

# A warning in between was an alert of its own, and did not say that all is well again.
_FAILED_BEFORE = in_schema("""
SELECT id, error_message AS message,
    coalesce(sync_metadata->>'root_run_id', sync_metadata->>'run_id', id::text) AS root_run_id,
    coalesce(error_details->'rejected', '{}') AS rejected
FROM (
    SELECT * FROM sqp.refresh_audit_log
    WHERE table_schema = %(schema)s AND table_name = %(table)s AND id < %(id)s
        AND refresh_completed_at IS NOT NULL AND status <> 'warning'
    ORDER BY id DESC LIMIT 1
) AS latest
WHERE status = 'failed'
""")
# The latest run that published one of these weeks: while there is no other, nothing has changed.
_LAST_PUBLISHED = in_schema("""
SELECT coalesce(max(published_by), 0) FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND table_name = ANY(%(tables)s)
    AND CASE period_end WHEN '9999-12-31' THEN %(whole)s ELSE period_start::text END
        = ANY(%(weeks)s)
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
        rejected: What is wrong with each rejected week, by its first day.
        to_look_at: The first days of the periods that its warnings are about.
        is_different: Whether the table does not equal its source.
    """

    audit_log_id: int
    table: str
    status: str
    message: str | None
    kind: str | None
    run_id: str | None
    root_run_id: str
    at: datetime
    rejected: Mapping[str, Any]
    to_look_at: Sequence[str]
    is_different: bool


@dataclass(frozen=True, slots=True)
class FailedRun:
    """The failed refresh that a later one has made up for, by its row in the audit log."""

    id: int
    message: str | None
    root_run_id: str
    rejected: Mapping[str, Any]


def alert_warning(session: Session, run: AuditRow) -> None:
    """Alert receivers of a refresh that is a warning, whether it is done or goes on.

    Tables of one run that warn of the same are one alert.
    """
    # The same warning may be given while the refresh goes on, and again when it is done.
    shared = f"{run.root_run_id} {_digest((run.message or '').removesuffix(GOES_ON))}"
    enqueue(session, _alert_of(run, Event.WARNING, run.message, shared=shared))


def alert_closed(session: Session, run: AuditRow, *, is_news: bool) -> None:
    """Alert receivers of a refresh that ended, by one event for each cause.

    A table that does not equal its source fails its checks, too, which is the same cause. The first
    refresh after a failure that there is nothing else to say of is a recovery.

    Args:
        session: A session in the transaction that closes the row.
        run: The row.
        is_news: Whether receivers do not know yet what a warning says.
    """
    if run.status == "failed":
        _alert_failed(session, run)
    elif run.is_different:
        enqueue(session, _alert_of(run, Event.QUALITY_FAILED, run.message, run.root_run_id))
    elif run.status == "warning" and is_news:
        alert_warning(session, run)
    else:
        if run.status != "warning":
            enqueue(session, _alert_of(run, Event.COMPLETED, None, str(run.audit_log_id)))
        _alert_recovered(session, run)


def _alert_failed(session: Session, run: AuditRow) -> None:
    if run.rejected:
        shared, alike = _cause_of_rejection(session, run), None
    else:
        alike = f"{run.root_run_id} {run.kind} "
        shared = f"{alike}{_digest(run.message or '')}"
    enqueue(session, _alert_of(run, Event.FAILED, run.message, shared=shared, alike=alike))


def _cause_of_rejection(session: Session, run: AuditRow) -> str:
    """Say which weeks are rejected, of what, and since which run: that is one cause every night."""
    weeks = sorted(run.rejected)
    # Weeks with too many bad rows are bad for all tables that are filled from the same source.
    breaks_contract = all("bad" in details for details in run.rejected.values())
    tables = _tables_beside(run.table) if breaks_contract else [run.table]
    params = {"schema": SCHEMA, "tables": tables, "weeks": weeks, "whole": str(ALL_TIME)}
    (published_by,) = session.fetch_one(_LAST_PUBLISHED, params)
    return f"{listing(tables)} {','.join(weeks)} after {published_by}"


def _tables_beside(name: str) -> list[str]:
    """List the tables that the vendor's report fills, or the table alone if it is none of them."""
    filled = [table.name for table in TABLES.values() if table.source]
    return filled if name in filled else [name]


def _alert_recovered(session: Session, run: AuditRow) -> None:
    params = {"schema": SCHEMA, "table": run.table, "id": run.audit_log_id}
    rows = session.fetch_all(_FAILED_BEFORE, params, row_factory=class_row(FailedRun))
    for failed in rows:
        message = f"it was refreshed, after it had failed: {failed.message}"
        weeks = _days(failed.rejected)
        shared = f"{failed.root_run_id} {','.join(weeks)}" if weeks else None
        alert = _alert_of(run, Event.RECOVERED, message, str(failed.id), shared=shared)
        enqueue(session, replace(alert, weeks=weeks))


def alert_failed_checks(
    session: Session,
    table: Table,
    errors: Sequence[str],
    *,
    weeks: Sequence[str] = (),
    audit_log_id: int,
    metadata: Mapping[str, Any],
) -> None:
    """Alert receivers of a table whose checks found an error, once for each run.

    Args:
        session: A session in a transaction.
        table: The table.
        errors: The message of each failing check; where there is none, nobody is alerted.
        weeks: The first days of the periods that fail.
        audit_log_id: The run that was checked.
        metadata: Its sync_metadata.
    """
    if not errors:
        return
    run_id = metadata.get("run_id")
    cause = metadata.get("root_run_id") or run_id or str(audit_log_id)
    message = listing(errors, "; ")
    alert = Alert(
        *(Event.QUALITY_FAILED, table.name, message, cause, session.now(), audit_log_id, run_id),
        weeks=weeks,
        command=next_step.after_failed_checks(table.name, weeks),
    )
    enqueue(session, alert)
    # That it was refreshed again is not what is to be said of it now.
    retract(session, Event.RECOVERED, table.name, audit_log_id)


def alert_held_back(
    session: Session,
    table: Table,
    message: str,
    *,
    week: str,
    state: str,
    audit_log_id: int,
    run_id: str,
) -> None:
    """Alert receivers of a week that is held back, once for each state of its source.

    Args:
        session: A session in a transaction.
        table: The table.
        message: What has changed, and what to do.
        week: The first day of the week.
        state: The state of its source.
        audit_log_id: The run that holds it back.
        run_id: The same run, by its id.
    """
    alert = Alert(
        *(Event.WARNING, table.name, message, f"{week} {state}"),
        *(session.now(), audit_log_id, run_id),
        weeks=_days([week]),
        command=next_step.after_warning(table.name, message),
    )
    enqueue(session, alert)


def alert_overdue(session: Session, tick: datetime, at: datetime) -> list[str]:
    """Alert receivers of the tables that were due and not refreshed; return their names.

    They are one alert a night, which names all of them.

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
        night = tick.isoformat()
        alert = Alert(Event.OVERDUE, table, message, night, at, shared=night)
        enqueue(session, replace(alert, command=next_step.DOCTOR))
    return [table for table, *_ in rows]


def _alert_of(
    run: AuditRow,
    event: Event,
    message: str | None,
    cause: str = "",
    *,
    shared: str | None = None,
    alike: str | None = None,
) -> Alert:
    return Alert(
        *(event, run.table, message, cause, run.at, run.audit_log_id, run.run_id),
        is_by_operator=event is Event.FAILED and run.kind == Kind.OPERATOR,
        weeks=_days(run.rejected or run.to_look_at),
        command=_command_for(event, run),
        shared=shared,
        alike=alike,
    )


def _command_for(event: Event, run: AuditRow) -> str:
    """Return with which command an operator begins."""
    if event is Event.FAILED:
        return next_step.after_failure(run.table, run.kind, is_rejected=bool(run.rejected))
    if event is Event.WARNING:
        return next_step.after_warning(run.table, run.message or "")
    if event is Event.QUALITY_FAILED:
        return next_step.after_failed_checks(run.table, _days(run.to_look_at))
    return next_step.history(run.table)


def _days(periods: Iterable[str]) -> list[str]:
    """List the first days of periods, in order of time; a table that is loaded whole has none."""
    return sorted(set(periods) - {str(ALL_TIME)})


def _digest(message: str) -> str:
    return hashlib.sha256(message.encode()).hexdigest()[:16]
