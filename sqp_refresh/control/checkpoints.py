"""Record in `sqp.refresh_checkpoints` how far a refresh has got, with each period it publishes.

A table has at most one active checkpoint, which belongs to the refresh that holds the table's lock.
A refresh that finds an active one has found an interrupted run, and goes on from there.

Where several writers publish at the same time, the first writes to the checkpoint itself. Each of
the others has a row of its own beside it: the transaction of one could not write to a row that
another has written to since it began. Together they say what is published, and when the refresh
ends, or another one goes on from it, they are put together again.
"""

import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from sqp_refresh.errors import Stopped
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

FUNCTION_NAME = "refresh"
STOP = "stop"
"""The `function_name` of a row that asks refreshes to stop, which is no checkpoint itself."""

EVERY_TABLE = "*"
"""The `table_name` of such a row that asks it of whole runs."""

WRITER = "writer"
"""The `function_name` of the row of another writer begins with it."""

LIFETIME_HOURS = 24

_FIND_ACTIVE = in_schema("""
SELECT id, checkpoint_data || jsonb_build_object('published', (
    SELECT coalesce(jsonb_agg(period), '[]')
    FROM sqp.refresh_checkpoints AS part
    CROSS JOIN jsonb_path_query(part.checkpoint_data, '$.published[*]') AS period
    WHERE part.id = checkpoint.id OR (part.function_name LIKE %(writers)s
        AND part.checkpoint_data->'checkpoint' = to_jsonb(checkpoint.id))
))
FROM sqp.refresh_checkpoints AS checkpoint
WHERE function_name = %(function)s AND table_schema = %(schema)s AND table_name = %(table)s
    AND status = 'active' AND expires_at > now()
""")
_EXPIRE = in_schema("""
UPDATE sqp.refresh_checkpoints SET status = 'expired'
WHERE (function_name = %(function)s OR function_name LIKE %(writers)s)
    AND table_schema = %(schema)s AND table_name = ANY(%(tables)s) AND status = 'active'
RETURNING table_name
""")
_SHARE = in_schema("""
INSERT INTO sqp.refresh_checkpoints
    (function_name, table_schema, table_name, checkpoint_data, expires_at)
SELECT concat(%(writer)s::text, ' ', number), %(schema)s, %(table)s, jsonb_build_object(
        'run_id', %(run_id)s::text, 'checkpoint', %(id)s::bigint, 'published', '[]'::jsonb
    ),
    now() + make_interval(hours => %(lifetime_hours)s)
FROM generate_series(2, %(writers)s) AS number
ORDER BY number
RETURNING id
""")
# Of a writer that is about to commit, this waits to see what it has published.
_GATHER = in_schema("""
WITH parts AS (
    DELETE FROM sqp.refresh_checkpoints
    WHERE function_name LIKE %(writers)s
        AND checkpoint_data->'checkpoint' = to_jsonb(%(id)s::bigint)
        AND checkpoint_data->>'run_id' = %(run_id)s
    RETURNING checkpoint_data->'published' AS published, last_processed_row
)
UPDATE sqp.refresh_checkpoints
SET last_processed_row = last_processed_row
        + (SELECT coalesce(sum(last_processed_row), 0) FROM parts),
    checkpoint_data = jsonb_set(
        checkpoint_data, '{published}', checkpoint_data->'published' || (
            SELECT coalesce(jsonb_agg(period), '[]')
            FROM parts CROSS JOIN jsonb_array_elements(published) AS period
        )
    )
WHERE id = %(id)s AND EXISTS (SELECT FROM parts)
""")
_REQUEST_STOP = in_schema("""
INSERT INTO sqp.refresh_checkpoints
    (function_name, table_schema, table_name, status, created_at)
SELECT %(stop)s, %(schema)s, unnest(%(tables)s::text[]), 'completed', clock_timestamp()
""")
_AT_WORK = in_schema("""
SELECT DISTINCT table_name FROM sqp.refresh_audit_log
WHERE refresh_completed_at IS NULL AND table_schema = %(schema)s AND table_name = ANY(%(tables)s)
""")
_IS_TAKEN_OVER = in_schema("""
SELECT count(*) > 0 FROM sqp.refresh_checkpoints
WHERE id = %(id)s AND status = 'active' AND checkpoint_data->>'run_id' <> %(run_id)s
""")
# What an operator asked for after the refresh began holds for it, and what was asked of all tables
# for the whole run: it may be between two tables, or not have come to its first period.
_NOT_STOPPED = sql.SQL(
    in_schema("""
NOT EXISTS (
    SELECT FROM sqp.refresh_checkpoints AS request
    WHERE request.function_name = %(stop)s AND request.table_schema = %(schema)s
        AND request.table_name IN (%(table)s, %(every_table)s)
        AND request.created_at > (
            SELECT min(refresh_started_at) FROM sqp.refresh_audit_log AS run
            WHERE sync_metadata->>'run_id' = %(run_id)s AND run.table_schema = %(schema)s
                AND (request.table_name = %(every_table)s OR run.table_name = %(table)s)
        )
)
""")
)
_INSERT = sql.SQL(
    in_schema("""
INSERT INTO sqp.refresh_checkpoints
    (function_name, table_schema, table_name, checkpoint_data, last_processed_row, total_rows,
     expires_at)
SELECT %(function)s, %(schema)s, %(table)s, %(data)s, 0, %(total)s::bigint,
    now() + make_interval(hours => %(lifetime_hours)s)
WHERE {not_stopped}
RETURNING id
""")
)
_TAKE_OVER = sql.SQL(
    in_schema("""
UPDATE sqp.refresh_checkpoints
SET checkpoint_data = %(data)s, total_rows = last_processed_row + %(total)s::bigint,
    expires_at = now() + make_interval(hours => %(lifetime_hours)s)
WHERE id = %(id)s AND status = 'active' AND {not_stopped}
RETURNING id
""")
)
_SAVE = in_schema("""
UPDATE sqp.refresh_checkpoints
SET checkpoint_data = jsonb_set(
        checkpoint_data, '{published}', checkpoint_data->'published' || %(period)s
    ),
    last_processed_row = last_processed_row + %(rows)s,
    expires_at = now() + make_interval(hours => %(lifetime_hours)s)
WHERE id = %(row)s AND status = 'active' AND checkpoint_data->>'run_id' = %(run_id)s
    AND (id = %(id)s OR EXISTS (
        SELECT FROM sqp.refresh_checkpoints WHERE id = %(id)s AND status = 'active'
    ))
""")
_COMPLETE = in_schema("""
UPDATE sqp.refresh_checkpoints
SET status = 'completed', total_rows = last_processed_row
WHERE id = %(id)s AND status = 'active' AND checkpoint_data->>'run_id' = %(run_id)s
""")


_NAMES = {"function": FUNCTION_NAME, "writers": f"{WRITER} %"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one refresh has got.

    Attributes:
        run_id: The run that it belongs to.
        forced: Whether that copies what has not changed, too.
        periods: What it has to publish, by first day.
        published: What of it is published.
        resumes: The interrupted run that it goes on from; None where it began anew.
        host: The machine at work.
        pid: The process there.
        id: Its row in sqp.refresh_checkpoints; None before it is written.
        row: The row that one of its writers writes to; None is its own.
    """

    run_id: str
    forced: bool
    periods: list[str]
    published: list[str] = field(default_factory=list)
    resumes: str | None = None
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    id: int | None = None
    row: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as `checkpoint_data` has it."""
        return {
            "run_id": self.run_id,
            "forced": self.forced,
            "periods": self.periods,
            "published": self.published,
            "resumes": self.resumes,
            "host": self.host,
            "pid": self.pid,
        }


def find_active(session: Session, table: Table) -> Checkpoint | None:
    """Return the table's active checkpoint, unless it is too old to go on from."""
    for checkpoint_id, data in session.fetch_all(_FIND_ACTIVE, _key_of(table)):
        # An earlier release kept numbers only, which cannot be gone on from.
        if "forced" in data:
            return Checkpoint(**data, id=checkpoint_id)
    return None


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
    """Open the table's one active checkpoint, or take over that of an interrupted run.

    Args:
        session: A session in a transaction.
        table: The table.
        run_id: The run that publishes the periods.
        periods: What it has to publish.
        rows: How many rows those are; None where that is not known.
        forced: Whether it copies what has not changed, too.
        resumed: The active checkpoint to go on from; None begins anew.

    Raises:
        Stopped: the checkpoint to go on from is no longer active, or an operator has stopped the
            refresh, or its run.
    """
    to_publish = [str(period) for period in periods]
    if resumed is None:
        expire(session, [table.name])
        checkpoint = Checkpoint(run_id, forced, to_publish)
        statement = _INSERT
    else:
        # What was published before and is due again counts as not published.
        published = [period for period in resumed.published if period not in to_publish]
        resumes = _interrupted_run(resumed, run_id)
        checkpoint = Checkpoint(run_id, forced, published + to_publish, published, resumes)
        statement = _TAKE_OVER
        gather(session, resumed)
    params = _key_of(table) | {
        "id": resumed and resumed.id,
        "data": Jsonb(checkpoint.to_json()),
        "total": rows,
        "lifetime_hours": LIFETIME_HOURS,
        "run_id": run_id,
        "stop": STOP,
        "every_table": EVERY_TABLE,
    }
    for (checkpoint_id,) in session.fetch_all(statement.format(not_stopped=_NOT_STOPPED), params):
        return replace(checkpoint, id=checkpoint_id)
    raise _stopped(session, resumed or checkpoint, run_id)


def share(
    session: Session, table: Table, checkpoint: Checkpoint, writers: int
) -> Sequence[Checkpoint]:
    """Return the checkpoint for each of its writers, with a row for each to write to.

    Args:
        session: A session in a transaction.
        table: The table.
        checkpoint: What `begin` returned.
        writers: How many there are.
    """
    if writers == 1:
        return [checkpoint]
    params = {
        "writer": WRITER,
        "schema": SCHEMA,
        "table": table.name,
        "run_id": checkpoint.run_id,
        "id": checkpoint.id,
        "lifetime_hours": LIFETIME_HOURS,
        "writers": writers,
    }
    rows = session.fetch_all(_SHARE, params)
    return [checkpoint, *(replace(checkpoint, row=row) for (row,) in rows)]


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
    params = {
        "id": checkpoint.id,
        "row": checkpoint.row or checkpoint.id,
        "run_id": checkpoint.run_id,
        "period": Jsonb(str(period)),
        "rows": rows,
        "lifetime_hours": LIFETIME_HOURS,
    }
    if not session.execute(_SAVE, params):
        raise _stopped(session, checkpoint, checkpoint.run_id)


def gather(session: Session, checkpoint: Checkpoint) -> None:
    """Put what every writer of a checkpoint has published into its own row.

    Where another run has taken the checkpoint over, that has been done, and its writers' rows stay.
    """
    of_run = {"id": checkpoint.id, "run_id": checkpoint.run_id}
    session.execute(_GATHER, _NAMES | of_run)


def complete(session: Session, checkpoint: Checkpoint) -> None:
    """Close the checkpoint of a refresh that published all of its periods."""
    gather(session, checkpoint)
    session.execute(_COMPLETE, {"id": checkpoint.id, "run_id": checkpoint.run_id})


def expire(session: Session, tables: Iterable[str]) -> list[str]:
    """Make refreshes in flight stop at their next period; return the tables that had one."""
    params = _NAMES | {"schema": SCHEMA, "tables": list(tables)}
    return sorted({table for (table,) in session.fetch_all(_EXPIRE, params)})


def stop(session: Session, tables: Sequence[str], *, whole_runs: bool) -> list[str]:
    """Stop refreshes at their next period; return the tables that are being refreshed.

    A refresh that has not come to its first period stops there. Later refreshes are not concerned.

    Args:
        session: A session in a transaction.
        tables: The tables whose refreshes stop.
        whole_runs: Whether the runs at work begin no other table either.
    """
    asked = [EVERY_TABLE] if whole_runs else list(tables)
    request = {"stop": STOP, "schema": SCHEMA, "tables": asked}
    session.execute(_REQUEST_STOP, request)
    at_work = session.fetch_all(_AT_WORK, {"schema": SCHEMA, "tables": list(tables)})
    return sorted({table for (table,) in at_work} | set(expire(session, tables)))


def _interrupted_run(resumed: Checkpoint, run_id: str) -> str | None:
    # The same run comes back to its own checkpoint when it tries again.
    return resumed.resumes if resumed.run_id == run_id else resumed.run_id


def _stopped(session: Session, checkpoint: Checkpoint, run_id: str) -> Stopped:
    (is_taken_over,) = session.fetch_one(_IS_TAKEN_OVER, {"id": checkpoint.id, "run_id": run_id})
    if is_taken_over:
        return Stopped("the refresh was stopped: another run has taken it over")
    return Stopped("the refresh was stopped by an operator; start it again when you are ready")


def _key_of(table: Table) -> dict[str, Any]:
    return _NAMES | {"schema": SCHEMA, "table": table.name}
