"""`sqp.refresh_audit_log`: a row for each table and run, opened before the work, always closed."""

import json
from typing import Any

from psycopg import sql

from sqp_refresh.errors import Transient, one_line
from sqp_refresh.postgres import Session
from sqp_refresh.tables import SCHEMA, Table

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
""")


def begin(session: Session, table: Table, *, run_id: str) -> int:
    """Open the row of one table in one run, as running; returns its id."""
    (audit_id,) = session.row(
        _BEGIN.format(
            schema=sql.Literal(SCHEMA),
            table=sql.Literal(table.name),
            metadata=sql.Literal(json.dumps({"run_id": run_id})),
        )
    )
    return audit_id


def close(
    session: Session, audit_id: int, columns: dict[str, Any], metadata: dict[str, Any]
) -> None:
    """Close the row: `columns` of the table are set, `metadata` is added to sync_metadata."""
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in columns.items()
    )
    session.run(
        _CLOSE.format(
            assignments=assignments,
            metadata=sql.Literal(json.dumps(metadata)),
            id=sql.Literal(audit_id),
        )
    )


def failure(error: BaseException) -> dict[str, Any]:
    """The columns that tell an operator why a refresh failed, in one line."""
    interrupted = not isinstance(error, Exception)
    message = f"interrupted ({type(error).__name__})" if interrupted else one_line(error)
    details = {"type": type(error).__name__, "retryable": isinstance(error, Transient)}
    return {
        "status": "failed",
        "error_message": message,
        "error_details": json.dumps(details),
    }
