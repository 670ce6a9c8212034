"""Measure periods of a table, and tell which of them can be compared with what they must hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqp_refresh.checks import metric_sql
from sqp_refresh.checks.certificates.certify import MATCHING_COLUMNS, measure_matching
from sqp_refresh.checks.evaluate import Measurement
from sqp_refresh.checks.integrity import UNMATCHED_ASIN_WEEKS, unmatched_asin_weeks
from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.checks.reconcile import expected_totals
from sqp_refresh.checks.volume import VOLUME_RATIO, measure_volume
from sqp_refresh.ledger.finality import ALL_COMPLETE, ArrivingWeeks
from sqp_refresh.ledger.ledger import LedgerEntry, read_entries
from sqp_refresh.ledger.parent_versions import read_parent_versions
from sqp_refresh.ledger.pins import read_pins
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.tables import Table
from sqp_refresh.model.versions import SourceVersion, Version
from sqp_refresh.postgres.session import Session


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of some periods of a table.

    Attributes:
        entries: The periods that were measured, and how each was last loaded.
        measurements: What was measured of each period, by the name of the metric.
        pinned: Those of the periods that are pinned, so that their source says nothing of them.
    """

    entries: Mapping[Period, LedgerEntry]
    measurements: Mapping[str, list[Measurement]]
    pinned: frozenset[Period]

    def of(self, metric: str, *, without: Collection[Period]) -> list[Measurement]:
        """List what was measured by one metric, but of some of the periods."""
        others = set(map(str, without))
        measurements = self.measurements[metric]
        return [measurement for measurement in measurements if measurement.period not in others]


def measure_periods(
    session: Session,
    table: Table,
    periods: Sequence[Period],
    counts: Mapping[Period, int],
    unedited: Collection[str] = (),
    arriving: ArrivingWeeks = ALL_COMPLETE,
) -> Measured:
    """Measure everything of each period that was ever loaded.

    What a period must hold is left open where it was not made from what the ledger has now: another
    run is at work, or the next refresh makes it again. So it is where the period is pinned.

    Args:
        session: A session in a transaction.
        table: The table.
        periods: The periods.
        counts: The rows of each period of the table, in order of time.
        unedited: Periods that a refresh has just compared or published, by their names.
        arriving: Which weeks are not complete, so that their volume says nothing.
    """
    requested = set(periods)
    every = read_entries(session, table, periods)
    entries = {period: entry for period, entry in every.items() if period in requested}
    values = metric_sql.measure(session, table, entries)
    versions = {period: entry.version for period, entry in entries.items()}
    expected = expected_totals(session, table, versions)
    matching = dict(measure_matching(session, table, entries, unedited))
    unmatched = unmatched_asin_weeks(session, table, entries)
    pins = read_pins(session, table)
    pinned = frozenset(period for period in entries if period.start in pins)
    current = _find_current(session, table, entries) - pinned
    measurements: dict[str, list[Measurement]] = {name: [] for name in METRICS}
    for period, of_period in values.items():
        of_period |= _of_version(versions[period])
        should = expected.get(period, {}) if period in current else {}
        for name, value in of_period.items():
            measurements[name].append(
                Measurement(name, str(period), value, should.get(name), is_pinned=period in pinned)
            )
    for period, measurement in matching.items():
        if period not in current:
            measurement = replace(measurement, expected=None, is_pinned=period in pinned)
        measurements[MATCHING_COLUMNS].append(measurement)
    for period in unmatched.keys() & current:
        measurement = Measurement(UNMATCHED_ASIN_WEEKS, str(period), unmatched[period])
        measurements[UNMATCHED_ASIN_WEEKS].append(measurement)
    if table.grain.published is Grain.WEEK:
        measurements[VOLUME_RATIO] += measure_volume(session, table, counts, entries, arriving)
    return Measured(entries, measurements, pinned)


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


def _of_version(version: Version | None) -> dict[str, float | int | None]:
    """Return what was counted of a period's rows in BigQuery when it was last loaded."""
    if not isinstance(version, SourceVersion):
        return {"quarantined_ratio": 0.0}
    return {
        "quarantined_ratio": version.rejected_ratio,
        "shared_keys": version.shared_keys,
        "off_midnight": version.off_midnight,
    }
