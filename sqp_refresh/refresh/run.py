"""Refresh one table from end to end: every step of the way, in order.

    lock ─▶ prepare ─▶ load_periods ─▶ finish        tried again where what went wrong is transient
              │             └─ one transaction a period: rows, ledger, checkpoint
              └─ versions in the source, compared with the ledger: what to load, and why

The Dagster assets, the command line and the tests all go through `refresh`; it knows nothing of any
of them. Example:

    source = source_for(settings, DAILY_SQP_DATA, weeks)
    result = refresh(settings.database_url, source, RefreshRequest(run_id="by hand"))
    result.counts.inserted
"""

import logging
from dataclasses import replace

from sqp_refresh.alerts.weeks import alert_of_weeks
from sqp_refresh.checks import data_quality
from sqp_refresh.checks.data_quality import Recorded
from sqp_refresh.checks.metrics import QUARANTINED_RATIO
from sqp_refresh.control import audit_log, checkpoints
from sqp_refresh.control.table_lock import TableLock, table_lock
from sqp_refresh.errors import RefreshError
from sqp_refresh.ledger import finality, ledger
from sqp_refresh.ledger.decide import ReloadReason
from sqp_refresh.load import indexes
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.audit_row import close_audit_row, open_audit_row, restore_audit_row
from sqp_refresh.refresh.periods.load_periods import load_periods
from sqp_refresh.refresh.prepare import RefreshPlan, prepare
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult, RefreshState
from sqp_refresh.refresh.sources import Source
from sqp_refresh.registry import refresh_config
from sqp_refresh.retrying import retrying

logger = logging.getLogger(__name__)


def refresh(database_url: str, source: Source, request: RefreshRequest) -> RefreshResult:
    """Load those of a source's periods that changed, and leave an audit row, whatever happens.

    What is transient is tried again, from the first period not yet loaded. A week with too many bad
    rows is left as it was, the others are loaded, and then the refresh fails.

    Args:
        database_url: Where the target is.
        source: Where the table's rows come from.
        request: Who asks for the refresh, and how it is to be done.

    Raises:
        RefreshError: see `errors`; periods loaded before it stay loaded.
    """
    state = RefreshState(source, request)
    with table_lock(database_url, source.table) as lock:
        try:
            # Attempts go on as long as each of them loads something more.
            attempts = retrying(lambda: len(state.loaded))
            return attempts(_attempt, database_url, lock, state)
        except BaseException as error:
            _close_as_failed(database_url, state, error)
            if isinstance(error, RefreshError):
                rows_by_period = state.fold().rows_by_period
                error.published = {str(period): rows for period, rows in rows_by_period.items()}
            raise


def _attempt(database_url: str, lock: TableLock, state: RefreshState) -> RefreshResult:
    with lock.held(), connect(database_url) as session:
        with session.transaction():
            open_audit_row(session, state)
        state.follow(prepare(session, state.source, state.request))
        if _is_first_load(state.plan):
            indexes.drop_for_bulk_load(session, state.table)
        load_periods(database_url, session, state)
        state.index_warnings = indexes.build_dropped(session, state.table)
        with session.transaction():
            result = _finish(session, state)
    if result.rejection:
        raise result.rejection
    return result


def _is_first_load(plan: RefreshPlan) -> bool:
    decisions = plan.decisions.values()
    return bool(decisions) and all(decision.reason is ReloadReason.NEW for decision in decisions)


def _finish(session: Session, state: RefreshState) -> RefreshResult:
    """Close the checkpoint and, unless weeks were rejected, the audit row, too."""
    result = state.fold()
    checkpoints.complete(session, state.plan.checkpoint)
    loaded = ledger.read_loaded(session, state.table)
    newest = loaded.newest
    is_newest = newest is None or any(period.start >= newest for period in state.plan.decisions)
    if is_newest:
        _note_look(session, state)
    if result.rejected:
        metrics = _quarantined_ratio(result, state.plan.max_rejected_ratio)
        restore_audit_row(session, state)
        data_quality.record(session, state.audit_log_id, metrics)
        return result
    if not state.request.rollback_to:
        refresh_config.mark_refreshed(
            session, state.table, tick=state.request.tick, is_newest=is_newest
        )
    close_audit_row(session, state, result, result.outcome)
    return replace(result, table_rows=loaded.rows)


def _note_look(session: Session, state: RefreshState) -> None:
    """Enter that the source was looked at as it is now, and alert receivers of what is news."""
    is_past = state.request.rollback_to or state.source_as_of
    if state.table.name != SEARCH_QUERY_PERFORMANCE.name or is_past:
        return
    before = finality.note_look(session)
    alert_of_weeks(
        session, before=before, audit_log_id=state.audit_log_id, run_id=state.request.run_id
    )


def _quarantined_ratio(result: RefreshResult, limit: float) -> list[Recorded]:
    """Return the metric that rejected a week: no check runs after a refresh that fails."""
    weeks = [week.details for week in result.rejected.values() if "bad" in week.details]
    worst = sorted(week["bad"] / week["read"] for week in weeks)[-1:]
    return [Recorded(QUARANTINED_RATIO.name, part, None, None, limit, False) for part in worst]


def _close_as_failed(database_url: str, state: RefreshState, error: BaseException) -> None:
    """Close the audit row on a session of its own: the refresh's may be what broke."""
    try:
        with connect(database_url) as session:
            with session.transaction():
                if not state.audit_log_id:
                    origin = state.request.origin
                    state.audit_log_id = audit_log.begin(session, state.table, origin)
                if state.has_plan:
                    checkpoints.gather(session, state.plan.checkpoint)
                failure = audit_log.describe_failure(error)
                close_audit_row(session, state, state.fold(), failure)
            # Whoever interrupts a refresh does not wait for indexes; the next one builds them.
            if isinstance(error, Exception):
                indexes.build_dropped(session, state.table)
    except RefreshError as unreachable:
        logger.warning("the failure of %s is not in the log: %s", state.table.name, unreachable)
