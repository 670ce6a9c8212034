"""`sqp.refresh_audit_log`: a row for each table and run, opened before the work, always closed."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from sqp_refresh.alerts import rules
from sqp_refresh.alerts.rules import Refreshed
from sqp_refresh.control.table_lock import try_lock
from sqp_refresh.errors import ProcessLost, RefreshError, Transient, kind_of, one_line
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session

_BEGIN = sql.SQL("""
INSERT INTO sqp.refresh_audit_log
    (refresh_config_id, table_schema, table_name, refresh_started_at, status, sync_metadata)
SELECT (
        SELECT id FROM sqp.refresh_config
        WHERE table_schema = {schema} AND table_name = {table}
    ), {schema}, {table}, clock_timestamp(), 'running', {metadata}::jsonb
RETURNING id
""")
_CLOSE = sql.SQL("""
UPDATE sqp.refresh_audit_log
SET {assignments},
    refresh_completed_at = clock_timestamp(),
    execution_time_ms =
        round(1000 * extract(epoch FROM clock_timestamp() - refresh_started_at))::bigint,
    sync_metadata = sync_metadata || {metadata}::jsonb
WHERE id = {id}
{as_told}
""")
_WARN = sql.SQL("""
UPDATE sqp.refresh_audit_log SET status = 'warning', error_message = {message}
WHERE id = {id} AND refresh_completed_at IS NULL
{as_told}
""")
_FAILED_LAST = sql.SQL("""
SELECT table_name FROM (
    SELECT DISTINCT ON (table_name) table_name, status FROM sqp.refresh_audit_log
    WHERE table_schema = {schema} AND table_name = ANY({tables})
    ORDER BY table_name, id DESC
) AS latest
WHERE status = 'failed'
""")
_LATEST = sql.SQL("""
SELECT id, sync_metadata::text FROM sqp.refresh_audit_log
WHERE table_schema = {schema} AND table_name = {table} AND refresh_completed_at IS NOT NULL
ORDER BY id DESC LIMIT 1
""")
_LAST_SCHEMA = sql.SQL("""
SELECT sync_metadata->>'source_schema' FROM sqp.refresh_audit_log
WHERE table_schema = {schema} AND table_name = {table} AND sync_metadata ? 'source_schema'
    AND status <> 'failed'
ORDER BY id DESC LIMIT 1
""")
_OPEN = sql.SQL("""
SELECT run.id, run.table_name, checkpoint_data->>'published'
FROM sqp.refresh_audit_log AS run
LEFT JOIN sqp.refresh_checkpoints AS checkpoint
    ON checkpoint.table_schema = run.table_schema AND checkpoint.table_name = run.table_name
    AND checkpoint_data->>'run_id' = sync_metadata->>'run_id'
WHERE refresh_completed_at IS NULL AND run.table_schema = {schema}
ORDER BY run.id
""")


@dataclass(frozen=True, slots=True)
class Run:
    """One table in one run: the id of its row, and its sync_metadata."""

    id: int
    metadata: dict[str, Any]


def latest(session: Session, table: Table) -> Run | None:
    """The latest row of a table that is closed."""
    named = _LATEST.format(schema=sql.Literal(SCHEMA), table=sql.Literal(table.name))
    for audit_id, metadata in session.rows(named):
        return Run(audit_id, json.loads(metadata))
    return None


def last_schema(session: Session, table: Table) -> dict[str, str]:
    """The source's columns and types as the latest run that did not fail found them, if any did."""
    found = session.rows(
        _LAST_SCHEMA.format(schema=sql.Literal(SCHEMA), table=sql.Literal(table.name))
    )
    return json.loads(found[0][0]) if found else {}


def failed_last(session: Session, tables: Iterable[str]) -> list[str]:
    """Those of the tables whose latest refresh failed."""
    latest = _FAILED_LAST.format(
        schema=sql.Literal(SCHEMA),
        tables=sql.SQL("{}::text[]").format(sql.Literal(list(tables))),
    )
    return [table for (table,) in session.rows(latest)]


def begin(session: Session, table: Table, origin: Mapping[str, Any]) -> int:
    """Open the row of one table in one run, as running; returns its id.

    Args:
        session: A session in a transaction.
        table: The table.
        origin: Which run it is, who launched it and for which tick, for sync_metadata.
    """
    (audit_id,) = session.row(
        _BEGIN.format(
            schema=sql.Literal(SCHEMA),
            table=sql.Literal(table.name),
            metadata=sql.Literal(json.dumps(origin)),
        )
    )
    return audit_id


def warn(session: Session, audit_id: int, message: str) -> None:
    """Mark a row that is still open as a warning, and tell of it; the refresh goes on."""
    marked = _WARN.format(
        message=sql.Literal(message + rules.GOES_ON),
        id=sql.Literal(audit_id),
        as_told=rules.AS_TOLD,
    )
    for row in session.rows(marked):
        rules.marked(session, Refreshed(*row))


def close(
    session: Session, audit_id: int, columns: dict[str, Any], metadata: dict[str, Any]
) -> None:
    """Close the row, and tell of how the refresh ended.

    `columns` of the table are set, `metadata` is added to sync_metadata.
    """
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in columns.items()
    )
    closed = _CLOSE.format(
        assignments=assignments,
        metadata=sql.Literal(json.dumps(metadata)),
        id=sql.Literal(audit_id),
        as_told=rules.AS_TOLD,
    )
    for row in session.rows(closed):
        rules.closed(session, Refreshed(*row))


def failure(error: BaseException) -> dict[str, Any]:
    """The columns that tell an operator why a refresh failed, in one line."""
    interrupted = not isinstance(error, Exception)
    message = f"interrupted ({type(error).__name__})" if interrupted else one_line(error)
    details = {
        "type": type(error).__name__,
        "kind": kind_of(error),
        "retryable": isinstance(error, Transient),
    } | (error.details if isinstance(error, RefreshError) else {})
    return {
        "status": "failed",
        "error_message": message,
        "error_details": json.dumps(details),
    }


def close_dead(session: Session, held: Table | None = None) -> list[str]:
    """Close the rows of runs whose process is gone as failed; returns their tables.

    A process that lives holds its table, so an open row of a table that is free belongs to a dead
    one.

    Args:
        session: A session in a transaction.
        held: The table that the caller itself holds: its rows, and no other, are closed.
    """
    dead = []
    for audit_id, table, published in session.rows(_OPEN.format(schema=sql.Literal(SCHEMA))):
        is_dead = try_lock(session, table) if held is None else table == held.name
        if not is_dead:
            continue
        weeks = json.loads(published or "[]")
        error = ProcessLost(
            f"its process ended without a word after {len(weeks)} published periods; "
            "the next refresh goes on from there"
        )
        close(session, audit_id, failure(error), {"weeks": weeks})
        dead.append(table)
    return dead
