"""Load the periods of a refresh, one transaction each, while the next one is read."""

import logging
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing

from sqp_refresh.alerts import rules
from sqp_refresh.control import quarantine
from sqp_refresh.errors import (
    DataError,
    DuplicateKey,
    Rejected,
    Transient,
    WriteConflict,
    one_line,
)
from sqp_refresh.ledger import guard, ledger
from sqp_refresh.ledger.guard import HeldBack
from sqp_refresh.load.result import NeedsMerge
from sqp_refresh.load.strategy import Strategy
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Origin
from sqp_refresh.model.versions import SourceVersion
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.audit_row import restore_audit_row
from sqp_refresh.refresh.periods.prefetch import prefetch
from sqp_refresh.refresh.periods.prepared_period import SAMPLE, PreparedPeriod, prepared
from sqp_refresh.refresh.periods.publish import publish, quarantine_rows
from sqp_refresh.refresh.periods.withdrawn import count_broken_rules, note_withdrawn
from sqp_refresh.refresh.periods.writers import (
    PeriodQueue,
    TakenPeriods,
    Writer,
    open_writers,
    share_out,
)
from sqp_refresh.refresh.result import RefreshState, held_back_warning
from sqp_refresh.validate.row_validator import rejection

logger = logging.getLogger(__name__)

MERGES = 3
"""How often a period is merged at the most, while somebody else goes on writing to its rows."""


def load_periods(database_url: str, session: Session, state: RefreshState) -> None:
    """Load what the plan says; what a strategy could not tell is read again, and merged.

    A week with too many bad rows is left as it was, and the others are loaded. So is a period of
    which a value can be neither read, computed nor stored, and a week that is held back.

    Args:
        database_url: Where the target is.
        session: The session of the refresh, in no transaction.
        state: The refresh.

    Raises:
        Transient: somebody else wrote to the same rows of a period whenever it was merged.
    """
    to_load, to_merge = _within_contract(state), {}
    if to_load:
        with open_writers(database_url, session, state) as writers:
            if not state.loaded:
                _forget_other_grains(session, state)
            to_merge = _load_each(writers, state, to_load)
            for _ in range(MERGES):
                if not to_merge:
                    break
                state.reloaded += [period for period in to_merge if period not in state.reloaded]
                to_merge = _load_each(writers, state, list(to_merge))
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


def _forget_other_grains(session: Session, state: RefreshState) -> None:
    """Drop what is on record of periods by which the table was loaded before, by another grain."""
    with session.transaction():
        ledger.drop_other_grains(session, state.table)
        quarantine.settle_other_grains(session, state.table)


def _load_each(
    writers: Sequence[Writer], state: RefreshState, periods: Sequence[Period]
) -> dict[Period, Exception]:
    """Load periods; return those that have to be read again and merged, and why."""
    to_merge: dict[Period, Exception] = {}

    def load(writer: Writer, queue: PeriodQueue) -> None:
        while queue:
            _load_until_broken(writer, state, queue, to_merge)

    share_out(writers, periods, load)
    return dict(sorted(to_merge.items()))


def _load_until_broken(
    writer: Writer, state: RefreshState, queue: PeriodQueue, to_merge: dict[Period, Exception]
) -> None:
    """Load periods that are read together, up to one whose rows break off."""
    taken, failure = TakenPeriods(queue), None
    try:
        with closing(_read_each(state, taken)) as coming:
            for period in coming:
                failure, week = _load_or_reject(writer, state, period), period.target.period
                taken.done(week)
                if failure is not None and week not in state.rejected:
                    to_merge[week] = failure
    except DataError as error:
        # What a period's rows broke off with is raised in place of the next one, too.
        if failure is None or str(error) != str(failure):
            raise
    finally:
        taken.put_back()


def _read_each(state: RefreshState, periods: TakenPeriods) -> Generator[PreparedPeriod]:
    with closing(state.source.read(periods)) as rows_of_periods:
        ready = (prepared(state, rows) for rows in rows_of_periods)
        with closing(prefetch(ready)) as coming:
            yield from coming


def _load_or_reject(
    writer: Writer, state: RefreshState, period: PreparedPeriod
) -> Exception | None:
    """Load a period, or leave it as it was; return what kept it from being loaded or merged."""
    session, week = writer.session, period.target.period
    try:
        result = publish(writer, state, period)
    except Rejected as rejected:
        state.rejected[week] = rejected
        assert period.validator, "only a validator rejects"
        with session.transaction():
            quarantine_rows(session, state, period, period.validator.invalid_rows[:SAMPLE])
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


def _is_lasting(error: Exception) -> bool:
    """Return whether a merge fails with it again; what somebody else has just written may pass."""
    return isinstance(error, DataError) and not isinstance(error, DuplicateKey)


def _unpublished(state: RefreshState, period: Period, error: Exception) -> Rejected:
    """Return the error for a period that cannot be read, computed or stored, with its name."""
    name = period if state.table.scope is None else f"the {state.table.grain.published} of {period}"
    return Rejected(f"{name} is rejected in {state.table.name}: {error}")
