"""Measure periods of a table, and tell which of them can be compared with what they must hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sqp_refresh.checks import metric_sql
from sqp_refresh.checks.evaluate import Measurement
from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.checks.reconcile import expected_totals
from sqp_refresh.ledger.ledger import LedgerEntry, read_entries, row_counts
from sqp_refresh.ledger.parent_versions import read_parent_versions
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.model.versions import SourceVersion, Version
from sqp_refresh.postgres.session import Session

WEEKS_BEFORE = 8
"""The weeks whose median a week's volume is compared with."""

_FEWEST_WEEKS = 4  # a median of fewer weeks says nothing


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of some periods of a table.

    Attributes:
        entries: The periods that were measured, and how each was last loaded.
        measurements: What was measured of each period, by the name of the metric.
    """

    entries: Mapping[Period, LedgerEntry]
    measurements: Mapping[str, list[Measurement]]

    def of(self, metric: str, *, without: Collection[Period]) -> list[Measurement]:
        """List what was measured by one metric, but of some of the periods."""
        others = set(map(str, without))
        measurements = self.measurements[metric]
        return [measurement for measurement in measurements if measurement.period not in others]


def measure_periods(session: Session, table: Table, periods: Sequence[Period]) -> Measured:
    """Measure everything of each period that was ever loaded.

    What a period must hold is left open where it was not made from what the ledger has now: another
    run is at work, or the next refresh makes it again.

    Args:
        session: A session in a transaction.
        table: The table.
        periods: The periods.
    """
    requested = set(periods)
    every = read_entries(session, table, periods)
    entries = {period: entry for period, entry in every.items() if period in requested}
    values = metric_sql.measure(session, table, entries)
    versions = {period: entry.version for period, entry in entries.items()}
    expected = expected_totals(session, table, versions)
    current = _find_current(session, table, entries)
    counts = row_counts(session, table)
    measurements: dict[str, list[Measurement]] = {name: [] for name in METRICS}
    for period, of_period in values.items():
        of_period["volume_ratio"] = _volume_ratio(counts, period)
        of_period["quarantined_ratio"] = _rejected_ratio(versions[period])
        should = expected.get(period, {}) if period in current else {}
        for name, value in of_period.items():
            measurements[name].append(Measurement(name, str(period), value, should.get(name)))
    return Measured(entries, measurements)


def _find_current(
    session: Session, table: Table, entries: Mapping[Period, LedgerEntry]
) -> frozenset[Period]:
    """Find the periods that the ledger has as it had them before they were measured.

    Another run may load a period, or a week that it is made from, at any time. Rows and ledger
    change in one transaction, so that what the ledger says afterwards of both holds for what was
    measured.
    """
    now = read_entries(session, table, list(entries))
    same = [period for period, entry in entries.items() if now.get(period) == entry]
    if table.source is not None:
        return frozenset(same)
    parents = read_parent_versions(session, table, same)
    return frozenset(period for period in same if parents[period] == entries[period].version)


def _rejected_ratio(version: Version | None) -> float:
    return version.rejected_ratio if isinstance(version, SourceVersion) else 0.0


def _volume_ratio(counts: Mapping[Period, int], period: Period) -> float | None:
    """Compare the rows of a week with the median of the weeks before it."""
    before = [rows for week, rows in counts.items() if week < period][-WEEKS_BEFORE:]
    usual = median(before) if len(before) >= _FEWEST_WEEKS else 0
    return counts.get(period, 0) / usual if usual else None
