"""Plan an attempt at a refresh: which periods to load and why, and the checkpoint for it."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from sqp_refresh.checks.metrics import QUARANTINED_RATIO, with_thresholds
from sqp_refresh.control import audit_log, checkpoints
from sqp_refresh.control.checkpoints import Checkpoint
from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.extract.schema_drift import Drift, drift, explained, require_percentages
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.ledger import ledger, pins, staleness
from sqp_refresh.ledger.decide import Decision, decide
from sqp_refresh.ledger.verdicts import periods_to_repair
from sqp_refresh.load.target import TargetTable, inspect_target
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Dependency, Table
from sqp_refresh.model.versions import SourceVersion, Version
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.lookback import weeks_of_table
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.source_warnings import warn_of_out_of_reach
from sqp_refresh.refresh.sources import Source, reads_period_by_period, versions_to_compare
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.sync_params import SyncParams


@dataclass(frozen=True, slots=True)
class RefreshPlan:
    """What an attempt at a refresh is to do.

    Attributes:
        decisions: What is to be done with each period, and why.
        checkpoint: How far it has got.
        target: What of the table decides how periods are loaded.
        max_rejected_ratio: The part of a week's rows that may break their contract, from 0 to 1.
        max_delete_ratio: The part of a week's rows that may be deleted or changed, from 0 to 1.
        writers: How many periods are published at the same time.
        drift: What has changed about the source's columns.
        new_out_of_reach: Warnings of rows that no refresh will look at, and that are news.
        failed_parents: Soft parents whose own last refresh failed.
    """

    decisions: Mapping[Period, Decision]
    checkpoint: Checkpoint
    target: TargetTable
    max_rejected_ratio: float
    max_delete_ratio: float
    writers: int
    drift: Drift
    new_out_of_reach: Sequence[str]
    failed_parents: Sequence[str]

    @property
    def to_load(self) -> list[Period]:
        """The periods that have to be loaded, in order of time."""
        return [period for period, decision in self.decisions.items() if decision.reason.loads]


@dataclass(frozen=True, slots=True)
class _Start:
    """What is known before the source is asked.

    Attributes:
        params: What the table does differently.
        interrupted: The checkpoint to go on from; None begins anew.
        periods: What the source is asked for.
        to_repair: What it is asked for beside them, as it must be made again in any case.
        before: What was recorded of the source when it was last looked at.
    """

    params: SyncParams
    interrupted: Checkpoint | None
    periods: Sequence[Period]
    to_repair: Sequence[Period]
    before: Mapping[str, Any]

    @property
    def schema(self) -> Mapping[str, str]:
        """The source's types by column, as they were."""
        return self.before.get("source_schema", {})


def prepare(session: Session, source: Source, request: RefreshRequest) -> RefreshPlan:
    """Plan an attempt, and open or take over the checkpoint for it.

    BigQuery answers between two transactions: whoever lets a transaction stand idle may lose it,
    and keeps others waiting.

    Args:
        session: A session with the target, in no transaction.
        source: Where the table's rows come from.
        request: How the refresh is to be done.

    Raises:
        Stopped: the table is disabled.
        SchemaMismatch: a column of the source is missing, or does not convert.
        RefreshError: see `errors`.
    """
    table = source.table
    with session.transaction():
        start = _read_start(session, source, request)
    # A derived table's source is Postgres, which answers within a transaction's deadlines.
    with nullcontext() if table.source else session.transaction():
        versions = _read_versions(session, source, start)
        changed = _find_changed(session, source, versions)
    with session.transaction():
        plan = _plan(session, source, request, start, versions)
        _pin_unchanged(session, source, request.run_id, plan, changed)
        return plan


def _find_changed(
    session: Session, source: Source, versions: Mapping[Period, Version]
) -> Sequence[Period]:
    """List the weeks that the source has changed since the instant that somebody wants it as of."""
    if not isinstance(source, BigQuerySource) or not source.wanted_instant:
        return []
    return source.find_changed(session, versions)


def _pin_unchanged(
    session: Session, source: Source, run_id: str, plan: RefreshPlan, changed: Sequence[Period]
) -> None:
    """Pin the weeks that are as they are wanted already; those that are loaded are pinned then."""
    decisions = {week: plan.decisions[week] for week in changed}
    left = [week for week, of in decisions.items() if not of.reason.loads and not of.pin]
    if left and isinstance(source, BigQuerySource) and source.wanted_instant:
        pins.pin_as_of(session, source.table, left, source.wanted_instant, run_id=run_id)


def _read_start(session: Session, source: Source, request: RefreshRequest) -> _Start:
    """Read what there is to know before the source is asked."""
    table = source.table
    params = refresh_config.require_enabled(session, table).sync_params
    source.batch_size = params.batch_size
    interrupted = checkpoints.find_active(session, table)
    if interrupted and not _goes_on(interrupted, request):
        interrupted = None
    # Whoever names an instant means the weeks that he names, and no others.
    is_wanted = isinstance(source, BigQuerySource) and source.wanted_instant
    return _Start(
        params,
        interrupted,
        _periods(session, source, request, params),
        [] if is_wanted else periods_to_repair(session, table),
        audit_log.find_look_at_source(session, table) if table.source else {},
    )


def _goes_on(interrupted: Checkpoint, request: RefreshRequest) -> bool:
    """Return whether a refresh goes on from where another was interrupted."""
    # A rollback publishes something else than whatever came before it; it may be tried again.
    if request.rollback_to and interrupted.run_id != request.run_id:
        return False
    return interrupted.forced or not request.force


def _plan(
    session: Session,
    source: Source,
    request: RefreshRequest,
    start: _Start,
    versions: Mapping[Period, Version],
) -> RefreshPlan:
    """Compare the source with the ledger, and open or take over the checkpoint."""
    table, interrupted = source.table, start.interrupted
    resumed = interrupted.published if interrupted else []
    decisions = decide(
        session,
        table,
        versions,
        force=request.force,
        resumed=resumed,
        rolls_back=request.rollback_to is not None,
    )
    _record_staleness(session, table, decisions)
    _record_pinned(session, table, decisions)
    to_load = {period: decision for period, decision in decisions.items() if decision.reason.loads}
    checkpoint = checkpoints.begin(
        session,
        table,
        run_id=request.run_id,
        periods=list(to_load),
        rows=_rows_to_read(to_load),
        forced=request.force,
        resumed=interrupted,
    )
    target = inspect_target(session, table, list(to_load))
    return RefreshPlan(
        decisions=decisions,
        checkpoint=checkpoint,
        target=target,
        writers=_writers(source, start.params.writers or request.writers, target, to_load),
        max_rejected_ratio=_max_rejected_ratio(start.params),
        max_delete_ratio=start.params.max_delete_ratio,
        drift=drift(table.source, start.schema, source.stats.schema),
        new_out_of_reach=warn_of_out_of_reach(
            source.stats.out_of_reach, start.before.get("out_of_reach") or {}
        ),
        failed_parents=audit_log.list_last_failed(session, _soft_parents(table)),
    )


def _periods(
    session: Session, source: Source, request: RefreshRequest, params: SyncParams
) -> Sequence[Period]:
    """List the periods to look at: of those that a schedule asks for, the table's own look-back."""
    periods = source.periods(session)
    if request.tick and source.table.source:
        return weeks_of_table(periods, params)
    return periods


def _read_versions(session: Session, source: Source, start: _Start) -> Mapping[Period, Version]:
    """Read what each period is made from now; columns that do not fit are explained."""
    try:
        versions = versions_to_compare(session, source, start.periods, start.to_repair)
    except SchemaMismatch as mismatch:
        raise explained(mismatch, source.table.source, start.schema) from None
    require_percentages(
        period
        for period, version in versions.items()
        if isinstance(version, SourceVersion) and version.has_fractions
    )
    return versions


def _record_staleness(session: Session, table: Table, decisions: Mapping[Period, Decision]) -> None:
    """Record the periods whose source is ahead of the table, until each of them is loaded."""
    entries = {
        period: decision.entry
        for period, decision in decisions.items()
        if decision.entry and not decision.pin
    }
    stale = {
        period
        for period, entry in entries.items()
        if staleness.is_stale(table, entry, decisions[period].version)
    }
    staleness.record_staleness(session, table, entries, stale)


def _record_pinned(session: Session, table: Table, decisions: Mapping[Period, Decision]) -> None:
    """Record what the table holds of the pinned periods that somebody else has written to."""
    for period, decision in decisions.items():
        entry, target = decision.entry, decision.target
        if decision.pin and entry and target and target != entry.target:
            ledger.record_target(session, table, period, target)


def _rows_to_read(to_load: Mapping[Period, Decision]) -> int | None:
    rows = [decision.rows for decision in to_load.values()]
    return None if None in rows else sum(filter(None, rows))


def _writers(source: Source, most: int, target: TargetTable, to_load: Collection[Period]) -> int:
    """Return how many writers there are work for, and which do not stand in each other's way."""
    # What alters rows may write to one row of its own for all of them, where writers would meet.
    if target.is_altered or not reads_period_by_period(source):
        return 1
    return max(1, min(most, len(to_load)))


def _max_rejected_ratio(params: SyncParams) -> float:
    (metric,) = with_thresholds([QUARANTINED_RATIO], params.thresholds_of(QUARANTINED_RATIO.name))
    return metric.maximum or 0.0


def _soft_parents(table: Table) -> list[str]:
    return [name for name, how in table.parents.items() if how is Dependency.SOFT]
