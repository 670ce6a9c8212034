"""Keep which periods fail: a failed verdict stays until its period is judged again."""

from collections.abc import Mapping, Sequence

from sqp_refresh.checks.evaluate import Verdict
from sqp_refresh.checks.integrity import UNMATCHED_ASIN_WEEKS
from sqp_refresh.checks.measure_periods import Measured
from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.ledger.ledger import LedgerEntry, published_periods, read_entries
from sqp_refresh.ledger.target_version import target_versions
from sqp_refresh.ledger.verdicts import PeriodVerdict, keep_verdicts
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.session import Session

_JUDGED_BY_SOURCE = {
    UNMATCHED_ASIN_WEEKS,
    *(metric.name for metric in METRICS.values() if metric.is_compared),
}


def keep_failed(
    session: Session, table: Table, measured: Measured, verdicts: Sequence[Verdict]
) -> None:
    """Keep what each period fails in, and have the next refresh make those again that it may mend.

    Those are the periods that differ from their source. One that fails otherwise is made again only
    if somebody else wrote to it: its source would give the same rows.

    Args:
        session: A session in a transaction.
        table: The table.
        measured: What was measured of the periods.
        verdicts: What each metric says of them.
    """
    failed = {period: set(entry.failed_metrics) for period, entry in measured.entries.items()}
    differing: set[Period] = set()
    periods = {str(period): period for period in measured.entries}
    for verdict in verdicts:
        if verdict.metric.is_of_table:
            continue
        for measurement in verdict.judged:
            failed[periods[measurement.period]].discard(verdict.metric.name)
        for measurement in verdict.failing:
            failed[periods[measurement.period]].add(verdict.metric.name)
            if verdict.metric.is_compared:
                differing.add(periods[measurement.period])
    # What a pinned period must hold, no source says any more.
    for period in measured.pinned:
        failed[period] -= _JUDGED_BY_SOURCE
    news = {
        period: entry
        for period, entry in measured.entries.items()
        if failed[period] - entry.failed_metrics and period not in differing
    }
    differing |= _find_edited(session, table, news)
    kept = {
        period: PeriodVerdict(failed[period], needs_reload=period in differing) for period in failed
    }
    keep_verdicts(session, table, measured.entries, kept)


def mark_edited(session: Session, table: Table) -> None:
    """Have the next refresh make every period again that somebody else has written to.

    That takes a look at all rows, though not at their values. Nights look at those of their weeks.
    """
    entries = read_entries(session, table, published_periods(session, table))
    edited = _find_edited(session, table, entries)
    kept = {
        period: PeriodVerdict(entries[period].failed_metrics, needs_reload=True)
        for period in edited
    }
    keep_verdicts(session, table, entries, kept)


def _find_edited(
    session: Session, table: Table, entries: Mapping[Period, LedgerEntry]
) -> set[Period]:
    """Find those of the periods whose rows are no longer those that were loaded."""
    held = target_versions(session, table, entries)
    return {period for period, target in held.items() if target != entries[period].target}
