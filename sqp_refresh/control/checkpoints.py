"""`sqp.refresh_checkpoints`: how far a refresh has got, committed with each period it publishes."""

import json

from psycopg import sql

from sqp_refresh.errors import Stopped
from sqp_refresh.postgres import Session
from sqp_refresh.tables import SCHEMA, Table
from sqp_refresh.weeks import Period

FUNCTION_NAME = "refresh"
LIFETIME_HOURS = 24

_EXPIRE = sql.SQL("""
UPDATE sqp.refresh_checkpoints SET status = 'expired', updated_at = now()
WHERE function_name = {function} AND table_schema = {schema} AND table_name = {table}
    AND status = 'active'
""")
_BEGIN = sql.SQL("""
INSERT INTO sqp.refresh_checkpoints
    (function_name, table_schema, table_name, checkpoint_data, last_processed_row, expires_at)
VALUES ({function}, {schema}, {table}, {data}, 0, now() + make_interval(hours => {hours}))
RETURNING id
""")
_SAVE = sql.SQL("""
UPDATE sqp.refresh_checkpoints
SET checkpoint_data = checkpoint_data || {data}, last_processed_row = {rows}, updated_at = now()
WHERE id = {id} AND status = 'active'
RETURNING id
""")
_COMPLETE = sql.SQL("""
UPDATE sqp.refresh_checkpoints
SET status = 'completed', total_rows = last_processed_row, updated_at = now()
WHERE id = {id} AND status = 'active'
""")


def begin(session: Session, table: Table, *, run_id: str, periods: int) -> int:
    """Open the table's one active checkpoint, in place of a dead run's; returns its id."""
    names = {
        "function": sql.Literal(FUNCTION_NAME),
        "schema": sql.Literal(SCHEMA),
        "table": sql.Literal(table.name),
    }
    session.run(_EXPIRE.format(**names))
    data = _json({"run_id": run_id, "periods": periods, "published": 0})
    (checkpoint_id,) = session.row(
        _BEGIN.format(**names, data=data, hours=sql.Literal(LIFETIME_HOURS))
    )
    return checkpoint_id


def save(
    session: Session, checkpoint_id: int, period: Period, *, published: int, rows: int
) -> None:
    """Record a period as published, in the transaction that publishes it.

    Args:
        session: The session whose transaction publishes the period.
        checkpoint_id: What `begin` returned.
        period: The period just published.
        published: Periods published so far, this one included.
        rows: Rows read so far, this period's included.

    Raises:
        Stopped: an operator expired the checkpoint; nothing of this period may be committed.
    """
    data = _json({"published": published, "last": str(period)})
    saved = session.rows(
        _SAVE.format(data=data, rows=sql.Literal(rows), id=sql.Literal(checkpoint_id))
    )
    if not saved:
        raise Stopped(
            "the refresh was stopped: its row in sqp.refresh_checkpoints is no longer active; "
            "start it again when you are ready"
        )


def complete(session: Session, checkpoint_id: int) -> None:
    """Close the checkpoint of a refresh that published all of its periods."""
    session.run(_COMPLETE.format(id=sql.Literal(checkpoint_id)))


def _json(data: dict[str, object]) -> sql.Composed:
    return sql.SQL("{}::jsonb").format(sql.Literal(json.dumps(data)))
