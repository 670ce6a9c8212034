"""Publish one period: its rows, its entry in the ledger and its checkpoint, in one transaction.

Several writers publish periods of a table at the same time. Rows are written, compared and measured
side by side; certificates are entered one after the other, each before the next writer's.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from sqp_refresh.checks.certificates.certify import MATCHING_COLUMNS, DifferingColumns, certify
from sqp_refresh.checks.integrity import UNMATCHED_ASIN_WEEKS
from sqp_refresh.checks.reconcile import AlteredRows, Difference, find_differences
from sqp_refresh.control import audit_log, checkpoints, quarantine
from sqp_refresh.control.proofs import Proof
from sqp_refresh.control.table_lock import publishing
from sqp_refresh.errors import Transient
from sqp_refresh.ledger import finality, guard, ledger, pins
from sqp_refresh.ledger.decide import ReloadReason
from sqp_refresh.ledger.ledger import Baseline, Change
from sqp_refresh.ledger.parent_versions import see_parents
from sqp_refresh.load import strategy as loading
from sqp_refresh.load.result import Counts, LoadResult, NeedsMerge
from sqp_refresh.load.strategy import Strategy
from sqp_refresh.model.periods import Period
from sqp_refresh.model.versions import ParentVersions, SourceVersion, Version
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.audit_row import restore_audit_row
from sqp_refresh.refresh.periods.prepared_period import PreparedPeriod
from sqp_refresh.refresh.periods.writers import Writer
from sqp_refresh.refresh.result import PeriodResult, RefreshState
from sqp_refresh.validate.row_validator import InvalidRow, rejection

_JUDGED_WITH_PROOF = (MATCHING_COLUMNS, UNMATCHED_ASIN_WEEKS)
"""Metrics that a period no longer fails once all of its columns were compared anew."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was loaded of a period, beside what its source says.

    Attributes:
        made_from: What it was made from.
        is_of_source: Whether the rows are the source's, and not kept because it has none.
        proof: Its certificate, not on record yet; None where there is none.
        differences: Where the two differ.
        metrics: The metrics by which they do.
    """

    made_from: Version
    is_of_source: bool
    proof: Proof | None
    differences: Sequence[Difference | DifferingColumns | AlteredRows]
    metrics: Sequence[str]


def publish(writer: Writer, state: RefreshState, period: PreparedPeriod) -> PeriodResult:
    """Publish a period, or nothing of it.

    Raises:
        Rejected: too many of its rows break their contract.
        HeldBack: its source has changed more of it than may be published as it comes.
        NeedsMerge, WriteConflict: it has to be read again, and merged.
        DataError: a value can be neither read, computed nor stored.
        RefreshError: see `errors`.
    """
    session, week = writer.session, period.target.period
    with ExitStack() as turn, publishing(session, state.table, week):
        baseline = loading.baseline_of(session, period.strategy, period.target, period.decision)
        loaded = loading.load(session, period.strategy, period.target, period.rows, baseline)
        if period.validator:
            loaded = _settle_invalid(session, state, period, loaded)
        _require_plausible(session, state, period, loaded.counts)
        verdict = _judge(session, state, period, loaded)
        if _is_of_source(period, verdict):
            finality.record_change(
                session,
                state.table,
                week,
                _change(period, loaded),
                audit_log_id=state.audit_log_id,
            )
        # It ends once this is committed: the next certificate follows on one that is there.
        turn.enter_context(writer.chain.turn())
        _record(writer, state, period, loaded, baseline, verdict)
        checkpoints.save(session, writer.checkpoint, week, rows=loaded.counts.read)
        _watch_budget(session, state)
    return PeriodResult(
        loaded.counts,
        verdict.differences,
        broken_rules=period.validator.reasons if period.validator else {},
        rejected_at_source=_rejected_at_source(period),
        version=verdict.made_from,
        deleted=loaded.deleted,
    )


def _judge(
    session: Session, state: RefreshState, period: PreparedPeriod, loaded: LoadResult
) -> Verdict:
    """Compare what was loaded with what the source says.

    Raises:
        NeedsMerge: they differ, and not all rows of the period were looked at.
    """
    week, made_from = period.target.period, _made_from(session, period)
    # Of rows that are kept although the source has none, it says nothing.
    is_of_source = not loaded.counts.retained
    held = loaded.totals.columns
    proof = certify(session, state.table, week, made_from, held) if is_of_source else None
    compared: list[Difference | DifferingColumns] = [
        *find_differences(session, state.table, week, made_from, loaded.totals)
    ]
    if proof and proof.differing:
        compared.append(DifferingColumns(week, proof.differing))
    if compared and period.strategy in (Strategy.DELTA, Strategy.INCREMENTAL):
        raise NeedsMerge
    differences: list[Difference | DifferingColumns | AlteredRows] = [*compared]
    if loaded.altered:
        differences.append(AlteredRows(week, loaded.altered, loaded.totals.altered_by))
    metrics = [difference.metric for difference in compared]
    return Verdict(made_from, is_of_source, proof, differences, metrics)


def _record(
    writer: Writer,
    state: RefreshState,
    period: PreparedPeriod,
    loaded: LoadResult,
    baseline: Baseline | None,
    verdict: Verdict,
) -> None:
    """Enter the period in the ledger, with its certificate; have it reloaded if it differs."""
    session, week, proof = writer.session, period.target.period, verdict.proof
    ledger.record(
        session,
        state.table,
        week,
        # Rows that the source no longer has are looked at again every time.
        verdict.made_from if verdict.is_of_source else None,
        target=loaded.totals.target,
        audit_log_id=state.audit_log_id,
        change=_change(period, loaded),
        row_hashes=loaded.row_hashes,
        baseline=baseline,
        judged=[*loaded.totals.totals, *(_JUDGED_WITH_PROOF if proof else ())],
        proof_sha256=_add_proof(writer, state, week, verdict) if proof else None,
    )
    if verdict.is_of_source:
        _pin(session, state, week)
    if verdict.differences:
        ledger.require_reload(session, state.table, [week], verdict.metrics)


def _change(period: PreparedPeriod, loaded: LoadResult) -> Change:
    return Change(
        is_changed=loaded.counts.changed > 0,
        is_new=loaded.counts.rows_before == 0,
        is_recorded=period.target.is_recorded,
        totals=loaded.totals.totals,
    )


def _is_of_source(period: PreparedPeriod, verdict: Verdict) -> bool:
    """Return whether the source has changed a period, and not only somebody else its rows."""
    entry = period.decision.entry
    return entry is None or entry.version != verdict.made_from


def _pin(session: Session, state: RefreshState, period: Period) -> None:
    """Pin what is published as it was at an instant: the next refresh would bring what is now."""
    run_id = state.request.run_id
    if state.source_as_of:
        pins.pin_as_of(session, state.table, [period], state.source_as_of, run_id=run_id)
    if state.request.rollback_to:
        reason = f"rolled back to {state.request.rollback_to:%Y-%m-%d %H:%M:%S} UTC"
        pins.pin(session, state.table, [period], reason=reason, pinned_by=f"run {run_id}")


def _add_proof(writer: Writer, state: RefreshState, period: Period, verdict: Verdict) -> str:
    """Enter the certificate of a period; return its hash."""
    assert verdict.proof, "there is one"
    made_from = verdict.made_from
    return writer.chain.add(
        writer.session,
        state.table,
        period,
        verdict.proof,
        audit_log_id=state.audit_log_id,
        instant=made_from.instant if isinstance(made_from, SourceVersion) else None,
    )


def _settle_invalid(
    session: Session, state: RefreshState, period: PreparedPeriod, loaded: LoadResult
) -> LoadResult:
    """Put the bad rows of a week into quarantine, unless there are too many of them.

    Raises:
        Rejected: there are; nothing of the week may be committed.
        Transient: they are others than those that were counted beforehand.
    """
    validator, limit = period.validator, state.plan.max_rejected_ratio
    assert validator, "rows of a source have a contract"
    week = period.target.period
    if validator.bad_ratio > limit:
        reasons = dict(validator.reasons.most_common())
        raise rejection(week, validator.bad, validator.read, limit, reasons)
    if len(validator.invalid_rows) < validator.bad:
        raise Transient(f"the source changed while the week of {week} was read")
    quarantine_rows(session, state, period, validator.invalid_rows)
    counts = replace(loaded.counts, read=validator.read, quarantined=validator.bad)
    counts.check_nothing_lost()
    return replace(loaded, counts=counts)


def quarantine_rows(
    session: Session, state: RefreshState, period: PreparedPeriod, rows: Sequence[InvalidRow]
) -> None:
    """Settle the rows of a week that waited, and keep those that it has now."""
    week = period.target.period
    quarantine.settle(session, state.table, week)
    if rows:
        restore_audit_row(session, state)
    quarantine.add(session, state.table, week, rows, audit_log_id=state.audit_log_id)


def _made_from(session: Session, period: PreparedPeriod) -> Version:
    """Return what a period was made from, as the transaction that made it saw it."""
    version, added = period.decision.version, period.decision.added_weeks
    is_rollback = period.decision.reason is ReloadReason.ROLLED_BACK
    if is_rollback or not isinstance(version, ParentVersions):
        return version
    if period.strategy is not Strategy.INCREMENTAL:
        added = []
    return see_parents(session, period.target.table, period.target.period, version, added)


def _rejected_at_source(period: PreparedPeriod) -> int:
    """Count the bad rows of a week that BigQuery aggregates: they are in none of its sums."""
    version = period.decision.version
    if period.validator or not isinstance(version, SourceVersion):
        return 0
    return version.rejected


def _watch_budget(session: Session, state: RefreshState) -> None:
    if state.is_over_budget and not state.has_budget_warning:
        state.has_budget_warning = True
        audit_log.warn(session, state.audit_log_id, state.budget_warning)


def _require_plausible(
    session: Session, state: RefreshState, period: PreparedPeriod, counts: Counts
) -> None:
    """Require that the source has changed no more of a week than may be published as it comes.

    Raises:
        HeldBack: it has.
    """
    decision, week = period.decision, period.target.period
    # What came empty deletes nothing, and whoever names an instant wants what was there then.
    if state.request.accept or state.source_as_of or counts.retained:
        return
    rows = counts.updated + counts.unchanged + counts.deleted
    changes = guard.changes_of_source(
        state.table,
        decision,
        guard.Change(rows, counts.deleted, counts.updated),
        is_edited=week in state.edited,
    )
    guard.require_plausible(session, decision, changes, state.plan.max_delete_ratio)
