"""Load the periods of a refresh, one transaction each, while the next one is read."""

import logging
import math
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqp_refresh.alerts import rules
from sqp_refresh.checks.certificates.certify import MATCHING_COLUMNS, DifferingColumns, certify
from sqp_refresh.checks.integrity import UNMATCHED_ASIN_WEEKS
from sqp_refresh.checks.reconcile import AlteredRows, Difference, find_differences
from sqp_refresh.control import audit_log, checkpoints, proofs, quarantine
from sqp_refresh.control.proofs import Proof
from sqp_refresh.control.table_lock import publishing
from sqp_refresh.errors import (
    DataError,
    DuplicateKey,
    Rejected,
    Transient,
    WriteConflict,
    one_line,
)
from sqp_refresh.ledger import guard, ledger, pins
from sqp_refresh.ledger.decide import Decision, ReloadReason
from sqp_refresh.ledger.guard import HeldBack
from sqp_refresh.ledger.ledger import Change
from sqp_refresh.ledger.parent_versions import see_parents
from sqp_refresh.load import strategy as loading
from sqp_refresh.load.result import Counts, LoadResult, NeedsMerge
from sqp_refresh.load.strategy import Strategy
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, SourceBatches, SqlRows
from sqp_refresh.model.tables import SCHEMA, Origin, Table
from sqp_refresh.model.versions import ParentVersions, SourceVersion, Version
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.audit_row import restore_audit_row
from sqp_refresh.refresh.prefetch import prefetch
from sqp_refresh.refresh.result import PeriodResult, RefreshState, held_back_warning
from sqp_refresh.refresh.withdrawn import count_broken_rules, note_withdrawn
from sqp_refresh.validate.row_validator import (
    InvalidRow,
    RowValidator,
    ValidatedRows,
    rejection,
    validated,
)

if TYPE_CHECKING:
    import pyarrow as pa

    from sqp_refresh.load.append import EncodedRows

logger = logging.getLogger(__name__)

MERGES = 3
"""How often a period is merged at the most, while somebody else goes on writing to its rows."""
_JUDGED_WITH_PROOF = (MATCHING_COLUMNS, UNMATCHED_ASIN_WEEKS)
"""Metrics that a period no longer fails once all of its columns were compared anew."""
SAMPLE = 1_000
"""Bad rows of a rejected week that are kept, to see what is wrong with it (count)."""


@dataclass(frozen=True, slots=True)
class PreparedPeriod:
    """A period whose rows are about to be read, and how it is loaded.

    Attributes:
        target: The period of the table.
        decision: Why it is loaded.
        strategy: How it is loaded.
        rows: The good rows, ready for the strategy.
        validator: What keeps the bad rows back; None where Postgres or BigQuery computed them.
    """

    target: TargetPeriod
    decision: Decision
    strategy: Strategy
    rows: "pa.RecordBatchReader | EncodedRows | SqlRows"
    validator: RowValidator | None = None

    def batches(self) -> Iterable[Any]:
        """Return the batches of its rows; none where Postgres computes them."""
        return () if isinstance(self.rows, SqlRows) else self.rows

    def with_batches(self, batches: Iterator[Any]) -> "PreparedPeriod":
        """Return the same, with batches that come from elsewhere."""
        if isinstance(self.rows, SqlRows):
            return self
        # Only rows need Arrow, which takes a while to import.
        import pyarrow as pa

        if isinstance(self.rows, pa.RecordBatchReader):
            reader = pa.RecordBatchReader.from_batches(self.rows.schema, batches)
            return replace(self, rows=reader)
        return replace(self, rows=replace(self.rows, batches=batches))


def load_periods(session: Session, state: RefreshState) -> None:
    """Load what the plan says; what a strategy could not tell is read again, and merged.

    A week with too many bad rows is left as it was, and the others are loaded. So is a period of
    which a value can be neither read, computed nor stored, and a week that is held back.

    Raises:
        Transient: somebody else wrote to the same rows of a period whenever it was merged.
    """
    to_merge = _load_each(session, state, _within_contract(state))
    for _ in range(MERGES):
        state.reloaded += [period for period in to_merge if period not in state.reloaded]
        to_merge = _load_each(session, state, list(to_merge))
    for period, error in to_merge.items():
        if not isinstance(error, DataError):
            name = f"{SCHEMA}.{state.table.name}"
            raise Transient(f"{name} {period}: somebody else keeps writing to its rows; try again")
        state.rejected[period] = _unpublished(state, period, error)
    note_withdrawn(session, state)


def _within_contract(state: RefreshState) -> list[Period]:
    """List the periods to load; of a week that BigQuery aggregates, it counts the bad rows."""
    if state.table.origin is not Origin.SOURCE_AGGREGATE:
        return state.plan.to_load
    limit = state.plan.max_rejected_ratio
    bad = {
        period: version
        for period in state.plan.to_load
        if isinstance(version := state.plan.decisions[period].version, SourceVersion)
        and version.rejected_ratio > limit
    }
    broken_rules = count_broken_rules(state, list(bad)) if bad else {}
    for period, version in bad.items():
        reasons = dict(broken_rules.get(period.start, Counter()).most_common())
        state.rejected[period] = rejection(period, version.rejected, version.rows, limit, reasons)
    return [period for period in state.plan.to_load if period not in state.rejected]


def _load_each(
    session: Session, state: RefreshState, periods: Sequence[Period]
) -> dict[Period, Exception]:
    """Load periods; return those that have to be read again and merged, and why."""
    left, to_merge = list(periods), {}
    while left:
        left = _load_until_broken(session, state, left, to_merge)
    return to_merge


def _load_until_broken(
    session: Session,
    state: RefreshState,
    periods: Sequence[Period],
    to_merge: dict[Period, Exception],
) -> list[Period]:
    """Load periods that are read together; return those after one whose rows broke off."""
    left, failure = list(periods), None
    try:
        with closing(_read_each(state, periods)) as coming:
            for period in coming:
                failure, week = _load_or_reject(session, state, period), period.target.period
                left.remove(week)
                if failure is not None and week not in state.rejected:
                    to_merge[week] = failure
    except DataError as error:
        # What a period's rows broke off with is raised in place of the next one, too.
        if failure is None or str(error) != str(failure):
            raise
        return left
    return []


def _read_each(state: RefreshState, periods: Sequence[Period]) -> Generator[PreparedPeriod]:
    with closing(state.source.read(periods)) as rows_of_periods:
        prepared = (_prepared(state, rows) for rows in rows_of_periods)
        with closing(prefetch(prepared)) as coming:
            yield from coming


def _prepared(state: RefreshState, period_rows: PeriodRows) -> PreparedPeriod:
    """Choose how a period is loaded, and have its rows made ready while they are read."""
    plan, decision = state.plan, state.plan.decisions[period_rows.period]
    entry, keeps_history = decision.entry, state.request.keeps_history
    # What a first publish inserts was never otherwise, so that there is nothing to put on record.
    recorded_by = state.audit_log_id if keeps_history and entry and entry.has_history else None
    target = TargetPeriod(state.table, period_rows.period, recorded_by)
    good = validated(state.table, period_rows, _most_invalid(plan.max_rejected_ratio, decision))
    assert not isinstance(good.rows, SourceBatches), "they are validated"
    if target.period in state.reloaded:
        strategy = Strategy.MERGE
    else:
        strategy = loading.choose(decision, plan.target, target, good.rows)
    rows = loading.prepare_rows(strategy, target, decision, good.rows)
    validator = good.validator if isinstance(good, ValidatedRows) else None
    return PreparedPeriod(target, decision, strategy, rows, validator)


def _most_invalid(max_rejected_ratio: float, decision: Decision) -> int | None:
    """Return how many bad rows are worth keeping: with more of them, the week is rejected."""
    if decision.rows is None:
        return None
    return max(SAMPLE, math.ceil(max_rejected_ratio * decision.rows))


def _load_or_reject(
    session: Session, state: RefreshState, period: PreparedPeriod
) -> Exception | None:
    """Load a period, or leave it as it was; return what kept it from being loaded or merged."""
    week = period.target.period
    try:
        result = _load(session, state, period)
    except Rejected as rejected:
        state.rejected[week] = rejected
        assert period.validator, "only a validator rejects"
        with session.transaction():
            _quarantine(session, state, period, period.validator.invalid_rows[:SAMPLE])
        return None
    except HeldBack as held:
        return _hold_back(session, state, period, held)
    except (NeedsMerge, WriteConflict, DataError) as error:
        # A merge does without all that might be wrong in the ledger or in the table's own rows.
        if period.strategy is Strategy.MERGE and _is_lasting(error):
            state.rejected[week] = _unpublished(state, week, error)
        else:
            logger.info("%s: %s needs a merge: %s", week, period.strategy, one_line(error))
        return error
    # Only what is committed is counted.
    state.loaded[week] = result
    name = f"{SCHEMA}.{state.table.name}"
    logger.info("%s %s: %s %s", name, week, period.strategy, result.counts)
    return None


def _hold_back(
    session: Session, state: RefreshState, period: PreparedPeriod, held: HeldBack
) -> HeldBack | None:
    """Leave a week as it was, and say so once; return why it has to be read again, if it has to."""
    week, entry = period.target.period, period.decision.entry
    assert entry, "a week that was never published is not held back"
    with session.transaction():
        if not held.change.is_of_source and guard.is_edited(session, state.table, week, entry):
            # What somebody else has written is mended; only the source's own change is weighed.
            state.edited.add(week)
            return held
        guard.hold(session, state.table, week, held.held)
        state.held[week] = held
        if held.is_new:
            _alert_held_back(session, state, week, held)
    return None


def _alert_held_back(session: Session, state: RefreshState, week: Period, held: HeldBack) -> None:
    restore_audit_row(session, state)
    rules.alert_held_back(
        session,
        state.table,
        held_back_warning(state.table, week, held),
        week=str(week),
        state=held.held.state,
        audit_log_id=state.audit_log_id,
        run_id=state.request.run_id,
    )


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


def _is_lasting(error: Exception) -> bool:
    """Return whether a merge fails with it again; what somebody else has just written may pass."""
    return isinstance(error, DataError) and not isinstance(error, DuplicateKey)


def _unpublished(state: RefreshState, period: Period, error: Exception) -> Rejected:
    """Return the error for a period that cannot be read, computed or stored, with its name."""
    name = period if state.table.scope is None else f"the {state.table.grain.published} of {period}"
    return Rejected(f"{name} is rejected in {state.table.name}: {error}")


def _load(session: Session, state: RefreshState, period: PreparedPeriod) -> PeriodResult:
    """Load one period: its rows, its entry in the ledger and its checkpoint, or nothing of it."""
    with publishing(session, state.table):
        if not state.loaded:
            _forget_other_grains(session, state.table)
        baseline = loading.baseline_of(session, period.strategy, period.target, period.decision)
        loaded = loading.load(session, period.strategy, period.target, period.rows, baseline)
        if period.validator:
            loaded = _settle_invalid(session, state, period, loaded)
        _require_plausible(session, state, period, loaded.counts)
        counts, made_from = loaded.counts, _made_from(session, period)
        # Of rows that are kept although the source has none, it says nothing.
        kept = counts.retained > 0
        week, held = period.target.period, loaded.totals.columns
        proof = None if kept else certify(session, state.table, week, made_from, held)
        ledger.record(
            session,
            state.table,
            period.target.period,
            # Rows that the source no longer has are looked at again every time.
            None if kept else made_from,
            target=loaded.totals.target,
            audit_log_id=state.audit_log_id,
            change=Change(
                is_changed=counts.changed > 0,
                is_new=counts.rows_before == 0,
                is_recorded=period.target.is_recorded,
                totals=loaded.totals.totals,
            ),
            row_hashes=loaded.row_hashes,
            baseline=baseline,
            judged=[*loaded.totals.totals, *(_JUDGED_WITH_PROOF if proof else ())],
            proof_sha256=_add_proof(session, state, period, made_from, proof),
        )
        if not kept:
            _pin(session, state, period.target.period)
        differences = _reconcile(session, state, period, made_from, loaded, proof)
        checkpoints.save(session, state.plan.checkpoint, period.target.period, rows=counts.read)
        _watch_budget(session, state)
    return PeriodResult(
        counts,
        differences,
        broken_rules=period.validator.reasons if period.validator else {},
        rejected_at_source=_rejected_at_source(period),
        version=made_from,
        deleted=loaded.deleted,
    )


def _pin(session: Session, state: RefreshState, period: Period) -> None:
    """Pin what is published as it was at an instant: the next refresh would bring what is now."""
    run_id = state.request.run_id
    if state.source_as_of:
        pins.pin_as_of(session, state.table, [period], state.source_as_of, run_id=run_id)
    if state.request.rollback_to:
        reason = f"rolled back to {state.request.rollback_to:%Y-%m-%d %H:%M:%S} UTC"
        pins.pin(session, state.table, [period], reason=reason, pinned_by=f"run {run_id}")


def _add_proof(
    session: Session,
    state: RefreshState,
    period: PreparedPeriod,
    made_from: Version,
    proof: Proof | None,
) -> str | None:
    """Enter the certificate of a period, if there is one; return its hash."""
    if proof is None:
        return None
    return proofs.add(
        session,
        state.table,
        period.target.period,
        proof,
        audit_log_id=state.audit_log_id,
        instant=made_from.instant if isinstance(made_from, SourceVersion) else None,
    )


def _forget_other_grains(session: Session, table: Table) -> None:
    """Drop what is on record of periods by which the table was loaded before, by another grain."""
    ledger.drop_other_grains(session, table)
    quarantine.settle_other_grains(session, table)


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
    _quarantine(session, state, period, validator.invalid_rows)
    counts = replace(loaded.counts, read=validator.read, quarantined=validator.bad)
    counts.check_nothing_lost()
    return replace(loaded, counts=counts)


def _quarantine(
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


def _reconcile(
    session: Session,
    state: RefreshState,
    period: PreparedPeriod,
    made_from: Version,
    loaded: LoadResult,
    proof: Proof | None,
) -> list[Difference | DifferingColumns | AlteredRows]:
    """Compare what was loaded with what the source says; where they differ, have it reloaded.

    Raises:
        NeedsMerge: they differ, and not all rows of the period were looked at.
    """
    week = period.target.period
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
    if differences:
        metrics = [difference.metric for difference in compared]
        ledger.require_reload(session, state.table, [week], metrics)
    return differences


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
