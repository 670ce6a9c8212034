"""What keeps the control tables small, and loses nothing that anybody may still ask for.

Each duty does what has come of age and nothing else, leaves the transaction to its caller, and
returns how many rows that was; none of them minds being called twice.
"""

from collections.abc import Callable, Iterable

from psycopg import sql

from sqp_refresh.errors import RefreshError
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import Settings

CLOSED_CHECKPOINT_DAYS = 7
AUDIT_LOG_DAYS = 90
"""Also how far back the monitoring views look, so that archiving a run changes none of them."""

_CLOSE_EXPIRED = sql.SQL("""
UPDATE sqp.refresh_checkpoints SET status = 'expired'
WHERE status = 'active' AND expires_at < now()
RETURNING id
""")
_DELETE_CLOSED = sql.SQL("""
DELETE FROM sqp.refresh_checkpoints
WHERE status <> 'active' AND updated_at < now() - make_interval(days => {days})
RETURNING id
""")
_DELETE_DELIVERIES = sql.SQL("""
DELETE FROM sqp.webhook_deliveries
WHERE status <> 'pending' AND created_at < now() - make_interval(days => {days})
RETURNING id
""")
_DELETE_REPLAYED = sql.SQL("""
DELETE FROM sqp.refresh_quarantine WHERE replayed_at < now() - make_interval(days => {days})
RETURNING id
""")
_COLUMNS = sql.SQL("""
SELECT attname FROM pg_attribute
WHERE attrelid = 'sqp.refresh_audit_log'::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
""")
# The row lock keeps a metric from being added to a run while that is moved. What the next refresh
# of a table compares itself with stays: its latest run, and the latest that saw the source's
# columns. So does a run whose refused rows are kept.
_ARCHIVE = sql.SQL("""
WITH old AS MATERIALIZED (
    SELECT run.id FROM sqp.refresh_audit_log AS run
    WHERE run.refresh_completed_at IS NOT NULL
        AND run.refresh_started_at < now() - make_interval(days => {days})
        AND NOT EXISTS (SELECT FROM sqp.refresh_quarantine WHERE audit_log_id = run.id)
        AND run.id NOT IN (
            SELECT max(id) FROM sqp.refresh_audit_log
            WHERE refresh_completed_at IS NOT NULL
            GROUP BY table_schema, table_name, sync_metadata ? 'source_schema'
        )
    FOR UPDATE
), metrics AS (
    DELETE FROM sqp.refresh_data_quality WHERE audit_log_id IN (SELECT id FROM old) RETURNING *
), runs AS (
    DELETE FROM sqp.refresh_audit_log WHERE id IN (SELECT id FROM old) RETURNING *
), archived AS (
    INSERT INTO sqp.refresh_audit_log_archive ({columns}, data_quality)
    SELECT {columns}, coalesce(
        (
            SELECT jsonb_agg(to_jsonb(metrics) ORDER BY metrics.id) FROM metrics
            WHERE metrics.audit_log_id = runs.id
        ),
        '[]'
    )
    FROM runs
    RETURNING jsonb_array_length(data_quality) AS metrics
)
SELECT (SELECT count(*) FROM old), (SELECT count(*) FROM runs), (SELECT count(*) FROM metrics),
    count(*), coalesce(sum(metrics), 0)::bigint
FROM archived
""")


def close_expired_checkpoints(session: Session) -> int:
    """Close the checkpoints that are too old to go on from."""
    return len(session.rows(_CLOSE_EXPIRED))


def delete_closed_checkpoints(session: Session) -> int:
    """Delete checkpoints that were closed more than a week ago."""
    return len(session.rows(_DELETE_CLOSED.format(days=sql.Literal(CLOSED_CHECKPOINT_DAYS))))


def delete_deliveries(session: Session, days: int) -> int:
    """Delete alerts older than this that were delivered or given up; one that waits is kept."""
    return len(session.rows(_DELETE_DELIVERIES.format(days=sql.Literal(days))))


def delete_replayed_rows(session: Session, days: int) -> int:
    """Delete quarantined rows that were judged again before this; one that waits is kept."""
    return len(session.rows(_DELETE_REPLAYED.format(days=sql.Literal(days))))


def archive_runs(session: Session) -> int:
    """Move runs older than 90 days to sqp.refresh_audit_log_archive, each with its metrics.

    Raises:
        RefreshError: not every run and metric that left its table reached the archive; the caller's
            transaction must not be committed.
    """
    columns = sql.SQL(", ").join(sql.Identifier(name) for (name,) in session.rows(_COLUMNS))
    found, runs, metrics, archived, kept = session.row(
        _ARCHIVE.format(columns=columns, days=sql.Literal(AUDIT_LOG_DAYS))
    )
    if not found == runs == archived or metrics != kept:
        raise RefreshError(
            f"of {found} runs and {metrics} metrics to archive, {archived} and {kept} arrived; "
            "nothing was moved"
        )
    return archived


DUTIES: dict[str, Callable[[Session, Settings], int]] = {
    "checkpoints_closed": lambda session, _: close_expired_checkpoints(session),
    "checkpoints_deleted": lambda session, _: delete_closed_checkpoints(session),
    "deliveries_deleted": lambda session, settings: delete_deliveries(
        session, settings.REFRESH_KEEP_DELIVERIES_DAYS
    ),
    # Before the runs, which stay as long as a row that they refused.
    "quarantined_rows_deleted": lambda session, settings: delete_replayed_rows(
        session, settings.REFRESH_KEEP_QUARANTINE_DAYS
    ),
    "runs_archived": lambda session, _: archive_runs(session),
}
"""Everything there is to do, by what it counts."""

HOURLY = ("checkpoints_closed",)
"""The duties that do not wait for the week to end."""


def maintain(
    session: Session, settings: Settings, duties: Iterable[str] = tuple(DUTIES)
) -> dict[str, int]:
    """Do these duties, each in a transaction of its own; returns how many rows each was.

    Raises:
        RefreshError: Postgres cannot be reached, or refuses; what was done before stays done.
    """
    done = {}
    for duty in duties:
        with session.transaction():
            done[duty] = DUTIES[duty](session, settings)
    return done
