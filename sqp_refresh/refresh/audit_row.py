"""Keep the row of a refresh in `sqp.refresh_audit_log`, whoever deletes rows of it meanwhile."""

import resource
import sys
from typing import Any

from sqp_refresh.control import audit_log
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.result import RefreshResult, RefreshState


def open_audit_row(session: Session, state: RefreshState) -> None:
    """Open the row of a refresh, unless an earlier attempt has."""
    if not state.audit_log_id:
        # This refresh holds the table, so that an open row of another one is a dead one's.
        audit_log.close_lost_runs(session, locked=state.table)
        state.audit_log_id = audit_log.begin(session, state.table, state.request.origin)


def restore_audit_row(session: Session, state: RefreshState) -> None:
    """Enter the row of a refresh again if it is gone: what is on record of the run refers to it."""
    origin, seconds = state.request.origin, state.seconds
    audit_log.restore(session, state.audit_log_id, state.table, origin, seconds=seconds)


def close_audit_row(
    session: Session, state: RefreshState, result: RefreshResult, outcome: dict[str, Any]
) -> None:
    """Close the row of a refresh.

    Args:
        session: A session in a transaction.
        state: The refresh.
        result: What it did.
        outcome: The columns that tell how it ended.
    """
    columns = result.columns | {"memory_used_mb": _peak_memory_mb()} | outcome
    metadata = result.metadata | {"forced": state.request.force}
    is_news = result.has_news
    if not audit_log.close(session, state.audit_log_id, columns, metadata, is_news=is_news):
        restore_audit_row(session, state)
        audit_log.close(session, state.audit_log_id, columns, metadata, is_news=is_news)


def _peak_memory_mb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    per_mb = 1024 if sys.platform != "darwin" else 1024 * 1024
    return round(peak / per_mb)
