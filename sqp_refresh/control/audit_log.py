"""Write `sqp.refresh_audit_log`: a row for each table and run, opened before the work.

Every row is closed: by the refresh itself, however it ends, or by the next one that finds its
process gone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import sql
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sqp_refresh.alerts import rules
from sqp_refresh.alerts.rules import AuditRow
from sqp_refresh.control.table_lock import try_lock
from sqp_refresh.errors import ProcessLost, RefreshError, Transient, kind_of, one_line
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

_BEGIN = in_schema("""
INSERT INTO sqp.refresh_audit_log
    (refresh_config_id, table_schema, table_name, refresh_started_at, status, sync_metadata)
SELECT (
        SELECT id FROM sqp.refresh_config
        WHERE table_schema = %(schema)s AND table_name = %(table)s
    ), %(schema)s, %(table)s, clock_timestamp(), 'running', %(metadata)s
RETURNING id
""")
_RESTORE = in_schema("""
INSERT INTO sqp.refresh_audit_log (
    id, refresh_config_id, table_schema, table_name, refresh_started_at, status, sync_metadata
)
OVERRIDING SYSTEM VALUE
SELECT %(id)s, (
        SELECT id FROM sqp.refresh_config
        WHERE table_schema = %(schema)s AND table_name = %(table)s
    ), %(schema)s, %(table)s, clock_timestamp() - make_interval(secs => %(seconds)s), 'running',
    %(metadata)s
ON CONFLICT (id) DO NOTHING
""")
_CLOSE = sql.SQL(
    in_schema("""
UPDATE sqp.refresh_audit_log
SET {assignments},
    refresh_completed_at = clock_timestamp(),
    execution_time_ms =
        round(1000 * extract(epoch FROM clock_timestamp() - refresh_started_at))::bigint,
    sync_metadata = sync_metadata || %(metadata)s
WHERE id = %(id)s
{returning}
""")
)
_WARN = sql.SQL(
    in_schema("""
UPDATE sqp.refresh_audit_log SET status = 'warning', error_message = %(message)s
WHERE id = %(id)s AND refresh_completed_at IS NULL
{returning}
""")
).format(returning=rules.RETURNING_AUDIT_ROW)
_LAST_FAILED = in_schema("""
SELECT table_name FROM (
    SELECT DISTINCT ON (table_name) table_name, status FROM sqp.refresh_audit_log
    WHERE table_schema = %(schema)s AND table_name = ANY(%(tables)s)
    ORDER BY table_name, id DESC
) AS latest
WHERE status = 'failed'
""")
_LATEST_RUN = in_schema("""
SELECT id, sync_metadata AS metadata FROM sqp.refresh_audit_log
WHERE table_schema = %(schema)s AND table_name = %(table)s AND refresh_completed_at IS NOT NULL
ORDER BY id DESC LIMIT 1
""")
_LATEST_LOOK_AT_SOURCE = in_schema("""
SELECT sync_metadata FROM sqp.refresh_audit_log
WHERE table_schema = %(schema)s AND table_name = %(table)s AND sync_metadata ? 'source_schema'
    AND status <> 'failed'
ORDER BY id DESC LIMIT 1
""")
_RUN_END = in_schema("""
SELECT refresh_completed_at FROM (
    SELECT id, table_schema, table_name, sync_metadata, refresh_completed_at
    FROM sqp.refresh_audit_log
    UNION ALL
    SELECT id, table_schema, table_name, sync_metadata, refresh_completed_at
    FROM sqp.refresh_audit_log_archive
) AS run
WHERE table_schema = %(schema)s AND table_name = %(table)s
    AND (id::text = %(run)s OR sync_metadata->>'run_id' = %(run)s)
ORDER BY id
""")
_OPEN_RUNS = in_schema("""
SELECT run.id, run.table_name, (
    SELECT jsonb_agg(period) FROM sqp.refresh_checkpoints AS checkpoint
    CROSS JOIN jsonb_path_query(checkpoint_data, '$.published[*]') AS period
    WHERE checkpoint.table_schema = run.table_schema AND checkpoint.table_name = run.table_name
        AND checkpoint_data->>'run_id' = sync_metadata->>'run_id'
)
FROM sqp.refresh_audit_log AS run
WHERE refresh_completed_at IS NULL AND run.table_schema = %(schema)s
ORDER BY run.id
""")


@dataclass(frozen=True, slots=True)
class Run:
    """One table in one run: the id of its row, and its sync_metadata."""

    id: int
    metadata: dict[str, Any]


def find_latest_run(session: Session, table: Table) -> Run | None:
    """Return the latest closed row of a table."""
    params = {"schema": SCHEMA, "table": table.name}
    return next(iter(session.fetch_all(_LATEST_RUN, params, row_factory=class_row(Run))), None)


def find_run_end(session: Session, table: Table, run: str) -> list[datetime | None]:
    """List when a table's rows of a run were closed, in their order; None is one that is open.

    Args:
        session: A session with the target.
        table: The table.
        run: The id of one of these rows, or the run id that they share.
    """
    params = {"schema": SCHEMA, "table": table.name, "run": run}
    return [completed_at for (completed_at,) in session.fetch_all(_RUN_END, params)]


def find_look_at_source(session: Session, table: Table) -> dict[str, Any]:
    """Return the sync_metadata of the latest run that saw the source's columns and did not fail."""
    params = {"schema": SCHEMA, "table": table.name}
    for (metadata,) in session.fetch_all(_LATEST_LOOK_AT_SOURCE, params):
        return metadata
    return {}


def list_last_failed(session: Session, tables: Iterable[str]) -> list[str]:
    """List those of the tables whose latest refresh failed."""
    params = {"schema": SCHEMA, "tables": list(tables)}
    return [table for (table,) in session.fetch_all(_LAST_FAILED, params)]


def begin(session: Session, table: Table, origin: Mapping[str, Any]) -> int:
    """Open the row of one table in one run, as running; return its id.

    Args:
        session: A session in a transaction.
        table: The table.
        origin: Which run it is, who launched it and for which tick, for sync_metadata.
    """
    params = {"schema": SCHEMA, "table": table.name, "metadata": Jsonb(dict(origin))}
    (audit_log_id,) = session.fetch_one(_BEGIN, params)
    return audit_log_id


def restore(
    session: Session, audit_log_id: int, table: Table, origin: Mapping[str, Any], *, seconds: float
) -> None:
    """Open the row of a run again, under its id, where somebody has deleted it meanwhile.

    Args:
        session: A session in a transaction.
        audit_log_id: What `begin` returned.
        table: The table.
        origin: As for `begin`.
        seconds: How long ago the refresh began.
    """
    params = {"schema": SCHEMA, "table": table.name, "metadata": Jsonb(dict(origin))}
    session.execute(_RESTORE, params | {"id": audit_log_id, "seconds": seconds})


def warn(session: Session, audit_log_id: int, message: str) -> None:
    """Mark a row that is still open as a warning, and alert receivers; the refresh goes on."""
    params = {"id": audit_log_id, "message": message + rules.GOES_ON}
    for row in session.fetch_all(_WARN, params, row_factory=class_row(AuditRow)):
        rules.alert_warning(session, row)


def close(
    session: Session,
    audit_log_id: int,
    columns: Mapping[str, Any],
    metadata: dict[str, Any],
    *,
    is_news: bool = True,
) -> bool:
    """Close the row, and alert receivers of how the refresh ended; return whether there was one.

    Args:
        session: A session in a transaction.
        audit_log_id: The row.
        columns: Values of its columns, by name.
        metadata: Keys that are added to its sync_metadata.
        is_news: Whether receivers do not know yet what a warning says.
    """
    assignments = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder(column))
        for column in columns
    )
    statement = _CLOSE.format(assignments=assignments, returning=rules.RETURNING_AUDIT_ROW)
    params = {**columns, "id": audit_log_id, "metadata": Jsonb(metadata)}
    closed = session.fetch_all(statement, params, row_factory=class_row(AuditRow))
    for row in closed:
        rules.alert_closed(session, row, is_news=is_news)
    return bool(closed)


def describe_failure(error: BaseException) -> dict[str, Any]:
    """Return the columns that tell an operator why a refresh failed, for `close`."""
    # An interruption, e.g. Ctrl-C, is no Exception and has no message.
    interrupted = not isinstance(error, Exception)
    message = f"interrupted ({type(error).__name__})" if interrupted else one_line(error)
    details = {
        "type": type(error).__name__,
        "kind": kind_of(error),
        "retryable": isinstance(error, Transient),
    } | (error.details if isinstance(error, RefreshError) else {})
    return {"status": "failed", "error_message": message, "error_details": Jsonb(details)}


def close_lost_runs(session: Session, locked: Table | None = None) -> list[str]:
    """Close the rows of runs whose process is gone as failed; return their tables.

    A process at work holds the lock of its table, so an open row of a table that can be locked
    belongs to a process that is gone.

    Args:
        session: A session in a transaction.
        locked: The table whose lock the caller itself holds: its rows, and no other, are closed.
    """
    lost = []
    for audit_log_id, table, published in session.fetch_all(_OPEN_RUNS, {"schema": SCHEMA}):
        is_lost = try_lock(session, table) if locked is None else table == locked.name
        if not is_lost:
            continue
        periods = published or []
        error = ProcessLost(
            f"its process ended without a word after {len(periods)} published periods; "
            "the next refresh goes on from there"
        )
        close(session, audit_log_id, describe_failure(error), {"weeks": periods})
        lost.append(table)
    return lost
