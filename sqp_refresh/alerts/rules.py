"""What receivers are told of: each function is called in the transaction that records the fact.

A cause is told of once. The re-runs of a failed run belong to the run that they all go back to, and
so do its alerts: a table that fails four times in one night for one reason is one alert.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql

from sqp_refresh.alerts.outbox import Alert, put
from sqp_refresh.model.events import Event
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session

GOES_ON = "; it goes on"
"""Ends the message of a refresh that is marked as a warning before it is done."""

NAMED = 3
"""A message names no more failing checks than this."""

AS_TOLD = sql.SQL("""
RETURNING id, table_name, status, error_message, error_details->>'kind',
    sync_metadata->>'run_id',
    coalesce(sync_metadata->>'root_run_id', sync_metadata->>'run_id', id::text),
    coalesce(refresh_completed_at, clock_timestamp())
""")
"""Ends a statement on one row of the audit log with the columns of `Refreshed`."""

_FAILED_BEFORE = sql.SQL("""
SELECT id, error_message FROM (
    SELECT id, status, error_message FROM sqp.refresh_audit_log
    WHERE table_schema = {schema} AND table_name = {table} AND id < {id}
        AND refresh_completed_at IS NOT NULL
    ORDER BY id DESC LIMIT 1
) AS latest
WHERE status = 'failed'
""")
# While a refresh is at work, the rest of the night may still come. A table that failed, or that
# does not equal its source, was told of, and so was why nothing below it was refreshed.
_OVERDUE = sql.SQL("""
WITH RECURSIVE told AS (
    SELECT config.id FROM sqp.refresh_config AS config
    JOIN sqp.refresh_audit_log AS run USING (table_schema, table_name)
    WHERE refresh_started_at >= {tick}
        AND (status = 'failed' OR sync_metadata->'reconciliation'->>'verdict' = 'FAIL')
    UNION
    SELECT dependent_config_id FROM sqp.refresh_dependencies
    JOIN told ON told.id = parent_config_id
    WHERE dependency_type = 'hard'
)
SELECT table_name, next_refresh_at, last_refresh_at FROM sqp.refresh_config
WHERE table_schema = {schema} AND is_enabled AND next_refresh_at <= {tick}
    AND id NOT IN (SELECT id FROM told)
    AND NOT EXISTS (SELECT FROM sqp.refresh_audit_log WHERE refresh_completed_at IS NULL)
ORDER BY priority DESC, table_name
""")


@dataclass(frozen=True, slots=True)
class Refreshed:
    """A row of the audit log as it was just written."""

    audit_id: int
    table: str
    status: str
    message: str | None
    kind: str | None
    run_id: str | None
    root_run_id: str
    at: datetime


def marked(session: Session, run: Refreshed) -> None:
    """Tell of a refresh that is not as it should be, whether it is done or goes on."""
    said = (run.message or "").removesuffix(GOES_ON)
    digest = hashlib.sha256(said.encode()).hexdigest()[:16]
    put(session, _of_run(run, Event.WARNING, run.message, f"{run.root_run_id} {digest}"))


def closed(session: Session, run: Refreshed) -> None:
    """Tell of a refresh that is done or failed, and of one that is the first not to fail again."""
    if run.status == "failed":
        put(session, _of_run(run, Event.FAILED, run.message, f"{run.root_run_id} {run.kind}"))
        return
    if run.status == "warning":
        marked(session, run)
    else:
        put(session, _of_run(run, Event.COMPLETED, None, str(run.audit_id)))
    names = {"schema": SCHEMA, "table": run.table, "id": run.audit_id}
    before = _FAILED_BEFORE.format(**{name: sql.Literal(value) for name, value in names.items()})
    for failed_id, message in session.rows(before):
        said = f"it was refreshed, after it had failed: {message}"
        put(session, _of_run(run, Event.RECOVERED, said, str(failed_id)))


def judged(
    session: Session,
    table: Table,
    errors: Sequence[str],
    *,
    audit_id: int,
    metadata: Mapping[str, Any],
    at: datetime,
) -> None:
    """Tell of a table whose checks found an error, once for each run.

    Args:
        session: A session in a transaction.
        table: The table.
        errors: What each failing check says; none is told of where there is none.
        audit_id: The run that was judged.
        metadata: Its sync_metadata.
        at: When it was judged.
    """
    if not errors:
        return
    more = len(errors) - NAMED
    said = "; ".join(errors[:NAMED]) + (f"; and {more} more" if more > 0 else "")
    run_id = metadata.get("run_id")
    about = metadata.get("root_run_id") or run_id or str(audit_id)
    put(session, Alert(Event.QUALITY_FAILED, table.name, said, about, at, audit_id, run_id))


def overdue(session: Session, tick: datetime, at: datetime) -> list[str]:
    """Tell of tables that a night has passed by without a word, once a night; returns them.

    Args:
        session: A session in a transaction.
        tick: When the schedule should have asked for them; what was due by then should be done.
        at: When this is found.
    """
    names = {"schema": sql.Literal(SCHEMA), "tick": sql.Literal(tick)}
    found = session.rows(_OVERDUE.format(**names))
    for table, due, last in found:
        said = (
            f"it was due at {due:%Y-%m-%d %H:%M} UTC and was not refreshed; the last time was "
            f"{f'{last:%Y-%m-%d %H:%M} UTC' if last else 'never'}; look for runs that are queued, "
            "or a schedule that is off"
        )
        put(session, Alert(Event.OVERDUE, table, said, tick.isoformat(), at))
    return [table for table, *_ in found]


def _of_run(run: Refreshed, event: Event, message: str | None, about: str) -> Alert:
    return Alert(event, run.table, message, about, run.at, run.audit_id, run.run_id)
