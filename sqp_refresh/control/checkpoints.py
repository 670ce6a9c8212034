"""`sqp.refresh_checkpoints`: how far a refresh has got, committed with each period it publishes.

A table has one active checkpoint, which belongs to its one writer: a refresh that finds one has
found a run that broke off, and goes on from there.
"""

import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg import sql

from sqp_refresh.errors import Stopped
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session

FUNCTION_NAME = "refresh"
LIFETIME_HOURS = 24

_LIFETIME = sql.SQL("make_interval(hours => {})").format(sql.Literal(LIFETIME_HOURS))
_ACTIVE = sql.SQL("""
SELECT id, checkpoint_data::text FROM sqp.refresh_checkpoints
WHERE function_name = {function} AND table_schema = {schema} AND table_name = {table}
    AND status = 'active' AND expires_at > now()
""")
_EXPIRE = sql.SQL("""
UPDATE sqp.refresh_checkpoints SET status = 'expired'
WHERE function_name = {function} AND table_schema = {schema} AND table_name = ANY({tables})
    AND status = 'active'
RETURNING table_name
""")
_BEGIN = sql.SQL("""
INSERT INTO sqp.refresh_checkpoints
    (function_name, table_schema, table_name, checkpoint_data, last_processed_row, total_rows,
     expires_at)
VALUES ({function}, {schema}, {table}, {data}, 0, {total}, now() + {lifetime})
RETURNING id
""")
_TAKE_OVER = sql.SQL("""
UPDATE sqp.refresh_checkpoints
SET checkpoint_data = {data}, total_rows = last_processed_row + {total},
    expires_at = now() + {lifetime}
WHERE id = {id} AND status = 'active'
RETURNING id
""")
_SAVE = sql.SQL("""
UPDATE sqp.refresh_checkpoints
SET checkpoint_data = jsonb_set(
        checkpoint_data, '{{published}}', checkpoint_data->'published' || {period}
    ),
    last_processed_row = last_processed_row + {rows},
    expires_at = now() + {lifetime}
WHERE id = {id} AND status = 'active' AND checkpoint_data->>'run_id' = {run_id}
RETURNING id
""")
_COMPLETE = sql.SQL("""
UPDATE sqp.refresh_checkpoints
SET status = 'completed', total_rows = last_processed_row
WHERE id = {id} AND status = 'active' AND checkpoint_data->>'run_id' = {run_id}
""")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one refresh has got.

    Attributes:
        run_id: The run that it belongs to.
        forced: Whether that copies what has not changed, too.
        periods: What it has to publish, by first day.
        published: What of it is published.
        resumes: The run that broke off, which it goes on from.
        host: The machine at work.
        pid: The process there.
    """

    run_id: str
    forced: bool
    periods: list[str]
    published: list[str] = field(default_factory=list)
    resumes: str | None = None
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    id: int | None = None

    def as_json(self) -> dict[str, Any]:
        """As `checkpoint_data` has it."""
        return {
            "run_id": self.run_id,
            "forced": self.forced,
            "periods": self.periods,
            "published": self.published,
            "resumes": self.resumes,
            "host": self.host,
            "pid": self.pid,
        }


def active(session: Session, table: Table) -> Checkpoint | None:
    """The table's active checkpoint, unless it is too old to go on from."""
    found = session.rows(_ACTIVE.format(**_named(table)))
    if not found:
        return None
    ((checkpoint_id, data),) = found
    data = json.loads(data)
    # An earlier release kept numbers only, which cannot be gone on from.
    return Checkpoint(**data, id=checkpoint_id) if "forced" in data else None


def begin(
    session: Session,
    table: Table,
    *,
    run_id: str,
    periods: Sequence[Period],
    rows: int | None,
    forced: bool,
    resumed: Checkpoint | None,
) -> Checkpoint:
    """Open the table's one active checkpoint, or take over that of a run that broke off.

    Args:
        session: A session in a transaction.
        table: The table.
        run_id: The run that publishes the periods.
        periods: What it has to publish.
        rows: How many rows those are; None where that is not known.
        forced: Whether it copies what has not changed, too.
        resumed: The active checkpoint to go on from; None begins anew.
    """
    wanted = [str(period) for period in periods]
    total = sql.SQL("{}::bigint").format(sql.Literal(rows))
    if resumed is None:
        expire(session, [table.name])
        checkpoint = Checkpoint(run_id, forced, wanted)
        statement = _BEGIN.format(
            **_named(table), data=_json(checkpoint), total=total, lifetime=_LIFETIME
        )
    else:
        done = [period for period in resumed.published if period not in wanted]
        checkpoint = Checkpoint(run_id, forced, done + wanted, done, _broken_off(resumed, run_id))
        statement = _TAKE_OVER.format(
            id=sql.Literal(resumed.id), data=_json(checkpoint), total=total, lifetime=_LIFETIME
        )
    ((checkpoint_id,),) = session.rows(statement) or [(None,)]
    if checkpoint_id is None:
        raise _stopped()
    return Checkpoint(**checkpoint.as_json(), id=checkpoint_id)


def save(session: Session, checkpoint: Checkpoint, period: Period, *, rows: int) -> None:
    """Record a period as published, in the transaction that publishes it.

    Args:
        session: The session whose transaction publishes the period.
        checkpoint: What `begin` returned.
        period: The period just published.
        rows: Rows that were read for it.

    Raises:
        Stopped: an operator expired the checkpoint, or another run has taken it over; nothing of
            this period may be committed.
    """
    saved = session.rows(
        _SAVE.format(
            **_owned(checkpoint),
            period=sql.SQL("{}::jsonb").format(sql.Literal(json.dumps(str(period)))),
            rows=sql.Literal(rows),
            lifetime=_LIFETIME,
        )
    )
    if not saved:
        raise _stopped()


def complete(session: Session, checkpoint: Checkpoint) -> None:
    """Close the checkpoint of a refresh that published all of its periods."""
    session.run(_COMPLETE.format(**_owned(checkpoint)))


def expire(session: Session, tables: Iterable[str]) -> list[str]:
    """Make refreshes in flight stop at their next period; returns the tables that had one."""
    statement = _EXPIRE.format(
        function=sql.Literal(FUNCTION_NAME),
        schema=sql.Literal(SCHEMA),
        tables=sql.SQL("{}::text[]").format(sql.Literal(list(tables))),
    )
    return [table for (table,) in session.rows(statement)]


def _broken_off(resumed: Checkpoint, run_id: str) -> str | None:
    # The same run comes back to its own checkpoint when it tries again.
    return resumed.resumes if resumed.run_id == run_id else resumed.run_id


def _stopped() -> Stopped:
    return Stopped(
        "the refresh was stopped: its row in sqp.refresh_checkpoints is no longer active, or "
        "another run has taken it over; start it again when you are ready"
    )


def _named(table: Table) -> dict[str, sql.Literal]:
    return {
        "function": sql.Literal(FUNCTION_NAME),
        "schema": sql.Literal(SCHEMA),
        "table": sql.Literal(table.name),
    }


def _owned(checkpoint: Checkpoint) -> dict[str, sql.Literal]:
    return {"id": sql.Literal(checkpoint.id), "run_id": sql.Literal(checkpoint.run_id)}


def _json(checkpoint: Checkpoint) -> sql.Composed:
    return sql.SQL("{}::jsonb").format(sql.Literal(json.dumps(checkpoint.as_json())))
