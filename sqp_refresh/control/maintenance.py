"""Keep the control tables small, without losing anything that somebody may still ask for.

Each duty handles the rows that are old enough and nothing else, leaves the transaction to its
caller, and returns how many rows those were; each may be called again at any time. The last one
builds indexes that are lacking.
"""

from collections.abc import Callable, Iterable

from psycopg import sql

from sqp_refresh.control.missing_indexes import build_missing
from sqp_refresh.errors import RefreshError
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import Settings

CLOSED_CHECKPOINT_DAYS = 7
AUDIT_LOG_DAYS = 90
"""Also how far back the monitoring views look, so that archiving a run changes none of them."""

_CLOSE_EXPIRED = in_schema("""
UPDATE sqp.refresh_checkpoints SET status = 'expired'
WHERE status = 'active' AND expires_at < now()
""")
_DELETE_CLOSED = in_schema("""
DELETE FROM sqp.refresh_checkpoints
WHERE status <> 'active' AND updated_at < now() - make_interval(days => %(days)s)
""")
_DELETE_DELIVERIES = in_schema("""
DELETE FROM sqp.webhook_deliveries
WHERE status <> 'pending' AND created_at < now() - make_interval(days => %(days)s)
""")
_DELETE_REPLAYED = in_schema("""
DELETE FROM sqp.refresh_quarantine WHERE replayed_at < now() - make_interval(days => %(days)s)
""")
_DELETE_REQUESTS = in_schema("""
DELETE FROM sqp.refresh_requests WHERE completed_at < now() - make_interval(days => %(days)s)
""")
# What is gone is the history of those periods up to the last of their changes that went.
_DELETE_HISTORY = in_schema("""
WITH gone AS (
    DELETE FROM sqp.refresh_history WHERE changed_at < now() - make_interval(days => %(days)s)
    RETURNING table_schema, table_name, period_start, changed_at
), shortened AS (
    UPDATE sqp.refresh_periods AS entry SET history_since = greatest(history_since, latest.at)
    FROM (
        SELECT table_schema, table_name, period_start, max(changed_at) AS at FROM gone
        GROUP BY table_schema, table_name, period_start
    ) AS latest
    WHERE (entry.table_schema, entry.table_name, entry.period_start)
        = (latest.table_schema, latest.table_name, latest.period_start)
)
SELECT count(*) FROM gone
""")
_AUDIT_LOG_COLUMNS = in_schema("""
SELECT attname FROM pg_attribute
WHERE attrelid = 'sqp.refresh_audit_log'::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
""")
# The row lock keeps a metric from being added to a run while that is moved. What the next refresh
# of a table compares itself with stays: its latest run, and the latest that saw the source's
# columns. So does a run whose refused rows are kept.
_ARCHIVE = sql.SQL(
    in_schema("""
WITH old AS MATERIALIZED (
    SELECT run.id FROM sqp.refresh_audit_log AS run
    WHERE run.refresh_completed_at IS NOT NULL
        AND run.refresh_started_at < now() - make_interval(days => %(days)s)
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
)


def close_expired_checkpoints(session: Session) -> int:
    """Close the checkpoints that are too old to go on from."""
    return session.execute(_CLOSE_EXPIRED)


def delete_closed_checkpoints(session: Session) -> int:
    """Delete checkpoints that were closed more than a week ago."""
    return session.execute(_DELETE_CLOSED, {"days": CLOSED_CHECKPOINT_DAYS})


def delete_deliveries(session: Session, days: int) -> int:
    """Delete alerts older than this that were delivered or given up; a pending one is kept."""
    return session.execute(_DELETE_DELIVERIES, {"days": days})


def delete_replayed_rows(session: Session, days: int) -> int:
    """Delete quarantined rows that were judged again before this; one that waits is kept."""
    return session.execute(_DELETE_REPLAYED, {"days": days})


def delete_requests(session: Session) -> int:
    """Delete requests that were settled more than 90 days ago; one that waits is kept."""
    return session.execute(_DELETE_REQUESTS, {"days": AUDIT_LOG_DAYS})


def delete_history(session: Session, days: int) -> int:
    """Delete what is on record of rows that were changed before this; 0 days delete all of it."""
    (deleted,) = session.fetch_one(_DELETE_HISTORY, {"days": days})
    return deleted


def archive_runs(session: Session) -> int:
    """Move runs older than 90 days to sqp.refresh_audit_log_archive, each with its metrics.

    Raises:
        RefreshError: not every run and metric that left its table reached the archive; the caller's
            transaction must not be committed.
    """
    names = [name for (name,) in session.fetch_all(_AUDIT_LOG_COLUMNS)]
    statement = _ARCHIVE.format(columns=sql.SQL(", ").join(map(sql.Identifier, names)))
    old, runs, metrics, archived_runs, archived_metrics = session.fetch_one(
        statement, {"days": AUDIT_LOG_DAYS}
    )
    if not old == runs == archived_runs or metrics != archived_metrics:
        raise RefreshError(
            f"of {old} runs and {metrics} metrics to archive, {archived_runs} and "
            f"{archived_metrics} arrived; nothing was moved"
        )
    return archived_runs


DUTIES: dict[str, Callable[[Session, Settings], int]] = {
    "checkpoints_closed": lambda session, _: close_expired_checkpoints(session),
    "checkpoints_deleted": lambda session, _: delete_closed_checkpoints(session),
    "deliveries_deleted": lambda session, settings: delete_deliveries(
        session, settings.REFRESH_KEEP_DELIVERIES_DAYS
    ),
    # Before the runs: a run stays as long as a row that it put into quarantine.
    "quarantined_rows_deleted": lambda session, settings: delete_replayed_rows(
        session, settings.REFRESH_KEEP_QUARANTINE_DAYS
    ),
    "history_deleted": lambda session, settings: delete_history(
        session, settings.REFRESH_KEEP_HISTORY_DAYS
    ),
    "requests_deleted": lambda session, _: delete_requests(session),
    "runs_archived": lambda session, _: archive_runs(session),
    # Last, as it may take long, or fail for want of disk.
    "indexes_built": lambda session, _: build_missing(session),
}
"""Every duty, by the name of what it counts, as `sqp-refresh maintain` shows it."""

HOURLY = ("checkpoints_closed",)
"""The duties that are done every hour, not once a week."""


def maintain(
    session: Session, settings: Settings, duties: Iterable[str] = tuple(DUTIES)
) -> dict[str, int]:
    """Do these duties, each in a transaction of its own; return how many rows each handled.

    Args:
        session: A session in no transaction.
        settings: How many days are kept.
        duties: Names of the duties, in this order.

    Raises:
        RefreshError: Postgres cannot be reached, or refuses; what was done before stays done.
    """
    counts = {}
    for duty in duties:
        with session.transaction():
            counts[duty] = DUTIES[duty](session, settings)
    return counts
