"""Measure a table period by period, and tell which periods can be judged by that."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from sqp_refresh.checks import metric_sql
from sqp_refresh.checks.evaluate import Measurement
from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.checks.reconcile import expected_totals
from sqp_refresh.checks.volume import VOLUME_RATIO, measure_volume
from sqp_refresh.control.audit_log import Run
from sqp_refresh.ledger.ledger import LedgerEntry, read_entries, row_counts
from sqp_refresh.ledger.parent_versions import read_parent_versions
from sqp_refresh.model.periods import Grain, Period, periods_touched, weeks_between
from sqp_refresh.model.tables import Table
from sqp_refresh.model.versions import SourceVersion, Version
from sqp_refresh.postgres.session import Session


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of a table.

    Attributes:
        entries: The periods that were measured, and how each was last loaded.
        measurements: What was measured of each period, and of the table, by the name of the metric.
    """

    entries: Mapping[Period, LedgerEntry]
    measurements: Mapping[str, Sequence[Measurement]]

    def of(self, metric: str, *, without: Collection[Period]) -> list[Measurement]:
        """List what was measured by one metric, but of some of the periods."""
        others = set(map(str, without))
        measurements = self.measurements[metric]
        return [measurement for measurement in measurements if measurement.period not in others]


def measure_table(
    session: Session, table: Table, periods: Sequence[Period], run: Run, today: date
) -> Measured:
    """Measure everything of each period that was ever loaded, and of the table.

    What a period must hold is left open where it was not made from what the ledger has now: another
    run is at work, or the next refresh makes it again.

    Args:
        session: A session in a transaction.
        table: The table.
        periods: The periods.
        run: The table's latest run.
        today: The day that freshness is counted from.
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
        of_period |= _of_version(versions[period])
        should = expected.get(period, {}) if period in current else {}
        for name, value in of_period.items():
            measurements[name].append(Measurement(name, str(period), value, should.get(name)))
    if table.grain.published is Grain.WEEK:
        measurements[VOLUME_RATIO] += measure_volume(session, table, counts, entries)
    for name, value in _of_table(table, counts, run, today):
        measurements[name].append(Measurement(name, "the whole table", value))
    measurements["out_of_reach"] += _out_of_reach(run)
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


def _of_version(version: Version | None) -> dict[str, float | int | None]:
    """Return what was counted of a period's rows in BigQuery when it was last loaded."""
    if not isinstance(version, SourceVersion):
        return {"quarantined_ratio": 0.0}
    return {
        "quarantined_ratio": version.rejected_ratio,
        "shared_keys": version.shared_keys,
        "off_midnight": version.off_midnight,
    }


def _out_of_reach(run: Run) -> Iterator[Measurement]:
    """Measure the rows that no refresh will look at, in a period that goes from first to last."""
    if reach := run.metadata.get("out_of_reach"):
        dates = [reach["first"], reach["last"]]
        period = f"{dates[0]} to {dates[1]}" if reach["misdated"] else "the whole table"
        yield Measurement("out_of_reach", period, reach["undated"] + reach["misdated"])


def _of_table(
    table: Table, counts: Mapping[Period, int], run: Run, today: date
) -> Iterator[tuple[str, int]]:
    """Measure what no single period tells."""
    yield "rerun_changes", run.metadata.get("rerun_changes") or 0
    if not counts or table.grain is Grain.TABLE:
        return
    first, last = min(counts), max(counts)
    yield "freshness_days", max(0, (today - last.end).days)
    # The first day of a month is not that of a week: the week that holds it began before.
    weeks = [week for week in weeks_between(first.start, last.end) if week.start >= first.start]
    between = periods_touched(weeks, table.grain)
    yield "missing_weeks", len(set(between) - counts.keys())
