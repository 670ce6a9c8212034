"""Write rows that may differ into a period whose other rows are known, and confirm the outcome."""

from sqp_refresh.checks.period_totals import PeriodTotals, measure_period
from sqp_refresh.ledger.target_version import TargetVersion
from sqp_refresh.load.merge_sql import ReadRows, upsert_statement
from sqp_refresh.load.result import Counts, NeedsMerge
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.postgres.session import Session


def upsert(session: Session, target: TargetPeriod, read: ReadRows) -> tuple[Counts, int]:
    """Insert and update rows by their keys, and leave all others as they are.

    Returns:
        What became of these rows, and by how much the sum of tuple hashes has changed.
    """
    statement = upsert_statement(target.table, read, is_recorded=target.is_recorded)
    *counts, hash_change = session.fetch_one(statement, target.params)
    return Counts(*counts), int(hash_change)


def confirm(session: Session, target: TargetPeriod, expected: TargetVersion) -> PeriodTotals:
    """Measure a period, and require that nobody else has written to it.

    Raises:
        NeedsMerge: somebody has, or something may have altered rows, or the period did not hold
            what the ledger says.
    """
    totals = measure_period(session, target.table, target.period)
    if totals.target != expected or totals.altered_by:
        raise NeedsMerge
    return totals
