"""Read and write `sqp.refresh_requests`: refreshes that somebody asked for in SQL."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from psycopg.rows import class_row

from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

RERUN_HOURS = 24
"""How long a request that failed may still be settled by a re-run."""

_UNSETTLED = in_schema("""
SELECT id, tables, first_week, last_week, force, status, requested_at
FROM sqp.refresh_requests
WHERE status IN ('pending', 'launched') OR (
    status = 'failed' AND run IS NOT NULL
    AND completed_at > now() - make_interval(hours => %(hours)s)
)
ORDER BY id
""")
_SETTLE = in_schema("""
UPDATE sqp.refresh_requests
SET status = %(status)s, run = %(run)s::text, message = %(message)s::text,
    launched_at = CASE WHEN %(status)s = 'launched' OR %(run)s::text IS NOT NULL
        THEN coalesce(launched_at, clock_timestamp()) ELSE launched_at END,
    completed_at = CASE WHEN %(status)s IN ('done', 'failed') THEN clock_timestamp() END
WHERE id = %(id)s
    AND (status, run, message) IS DISTINCT FROM (%(status)s, %(run)s::text, %(message)s::text)
""")
_OUTCOME = in_schema("""
SELECT coalesce(sum(rows_inserted + rows_updated + rows_deleted), 0)::bigint, coalesce(
    array_agg(table_name || ': ' || error_message ORDER BY id)
        FILTER (WHERE status IN ('failed', 'warning') AND error_message IS NOT NULL),
    '{}'
)
FROM sqp.refresh_audit_log
WHERE sync_metadata->>'run_id' = %(run)s AND NOT sync_metadata ? 'materialized_view'
""")


class RequestStatus(StrEnum):
    """How far a request is."""

    PENDING = "pending"
    LAUNCHED = "launched"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Request:
    """A refresh that somebody asked for, and that may still change its status.

    Attributes:
        id: Its id.
        tables: Names of the tables; None is every enabled one.
        first_week: Sunday of the first week; None where only the last one was named, or none.
        last_week: Sunday of the last week.
        force: Whether to copy also what has not changed.
        status: How far it is.
        requested_at: When it was asked for.
    """

    id: int
    tables: list[str] | None
    first_week: date | None
    last_week: date | None
    force: bool
    status: RequestStatus
    requested_at: datetime

    @property
    def key(self) -> str:
        """Return what tells it from all others, those of the database's former lives included."""
        return f"{self.id} of {self.requested_at.isoformat()}"


def read_unsettled(session: Session) -> list[Request]:
    """Read the requests that are not settled for good, in the order in which they came."""
    return session.fetch_all(_UNSETTLED, {"hours": RERUN_HOURS}, row_factory=class_row(Request))


def settle(
    session: Session,
    request: Request,
    status: RequestStatus,
    run: str | None = None,
    message: str | None = None,
) -> None:
    """Write what has become of a request, in a transaction of its own.

    Args:
        session: A session in no transaction.
        request: The request.
        status: How far it is.
        run: Its run; None where it has none yet.
        message: What it waits for, what it did, or why it failed.
    """
    params = {"id": request.id, "status": status, "run": run, "message": message}
    with session.transaction():
        session.execute(_SETTLE, params)


def describe_run(session: Session, run: str, *, is_good: bool) -> str:
    """Say what a run that has ended did, or why it failed.

    Args:
        session: A session in no transaction.
        run: The run.
        is_good: Whether it went through.
    """
    with session.transaction():
        changed, messages = session.fetch_one(_OUTCOME, {"run": run})
    if is_good:
        return "; ".join([f"{changed:,} rows changed", *messages])
    return listing(messages, "; ") or (
        "its run failed, and not in the refresh of a table; its log in Dagster says why"
    )
