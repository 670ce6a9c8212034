"""Check a table: measure it, compare it with what it should be, and record every metric."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from statistics import median

from sqp_refresh.alerts import rules
from sqp_refresh.checks import data_quality, metric_sql
from sqp_refresh.checks.data_quality import Recorded
from sqp_refresh.checks.evaluate import Measurement, Verdict, evaluate
from sqp_refresh.checks.metrics import METRICS, Metric, with_thresholds
from sqp_refresh.checks.reconcile import expected_totals
from sqp_refresh.control import audit_log
from sqp_refresh.control.audit_log import Run
from sqp_refresh.errors import NotFound
from sqp_refresh.ledger.ledger import read_entries, require_reload, row_counts
from sqp_refresh.model.periods import Grain, Period, periods_touched, weeks_between
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.versions import SourceVersion, Version
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry import refresh_config

WEEKS_BEFORE = 8
"""The weeks whose median a week's volume is compared with."""

_FEWEST_WEEKS = 4  # a median of fewer weeks says nothing


def metrics_of(table: Table) -> list[Metric]:
    """List the metrics that make sense for a table."""
    names = metric_sql.metric_names(table) | {"rerun_changes"}
    if table.source:
        names.add("quarantined_ratio")
    if table.grain is not Grain.TABLE:
        names.add("missing_weeks")
    if table.grain.published is Grain.WEEK:
        names |= {"volume_ratio", "freshness_days"}
    return [metric for metric in METRICS.values() if metric.name in names]


def run_checks(
    session: Session,
    table: Table,
    weeks: Iterable[Period] | None,
    *,
    today: date,
    only: Collection[str] = (),
) -> list[Verdict]:
    """Check a table's periods, and record what every metric says of them for its latest refresh.

    Where one says that there is an error, receivers of alerts are told so. A period that is not
    what its source says is compared whole by the next refresh of it.

        run_checks(session, TABLES["monthly_summary"], None, today=date.today())

    Args:
        session: A session in a transaction.
        table: The table.
        weeks: The weeks whose periods are checked; None is all that the table has rows of.
        today: The day that freshness is counted from.
        only: Names of the checks to make; none is all of them.

    Raises:
        NotFound: the table was never refreshed, so there is nothing to check.
        SettingsError: a threshold is malformed.
    """
    run = audit_log.find_latest_run(session, table)
    if run is None:
        raise NotFound(f"{SCHEMA}.{table.name} was never refreshed, so there is nothing to check")
    thresholds = refresh_config.require_registered(session, table).sync_params.quality
    metrics = with_thresholds(metrics_of(table), thresholds)
    periods = row_counts(session, table) if weeks is None else periods_touched(weeks, table.grain)
    measured = _measurements(session, table, list(periods), run, today)
    verdicts = evaluate(
        {metric: measured[metric.name] for metric in metrics if not only or metric.check in only}
    )
    data_quality.record(session, run.id, map(_recorded, verdicts))
    _have_reloaded(session, table, periods, verdicts)
    rules.alert_failed_checks(
        session,
        table,
        [str(verdict) for verdict in verdicts if verdict.ok is False and verdict.is_error],
        audit_log_id=run.id,
        metadata=run.metadata,
        at=datetime.now(UTC),
    )
    return verdicts


def _have_reloaded(
    session: Session, table: Table, periods: Iterable[Period], verdicts: Iterable[Verdict]
) -> None:
    """Have the next refresh compare those periods whose numbers are not those of the source."""
    differing = {
        measurement.period
        for verdict in verdicts
        if verdict.metric.is_compared
        for measurement in verdict.failing
    }
    if differing:
        require_reload(session, table, [period for period in periods if str(period) in differing])


def _recorded(verdict: Verdict) -> Recorded:
    metric = verdict.metric
    return Recorded(
        metric.name, verdict.value, verdict.expected, metric.minimum, metric.maximum, verdict.ok
    )


def _measurements(
    session: Session, table: Table, periods: Sequence[Period], run: Run, today: date
) -> dict[str, list[Measurement]]:
    """Measure everything of each period, and of the table; by the name of the metric."""
    versions = {
        period: entry.version for period, entry in read_entries(session, table, periods).items()
    }
    values = metric_sql.measure(session, table, versions)
    expected = expected_totals(session, table, versions)
    counts = row_counts(session, table)
    for period, of_period in values.items():
        of_period["volume_ratio"] = _volume_ratio(counts, period)
        of_period["quarantined_ratio"] = _rejected_ratio(versions[period])
    measurements: dict[str, list[Measurement]] = {name: [] for name in METRICS}
    for period, of_period in values.items():
        for name, value in of_period.items():
            should = expected.get(period, {}).get(name)
            measurements[name].append(Measurement(name, str(period), value, should))
    for name, value in _of_table(table, counts, run, today):
        measurements[name].append(Measurement(name, "the whole table", value))
    return measurements


def _rejected_ratio(version: Version | None) -> float:
    return version.rejected_ratio if isinstance(version, SourceVersion) else 0.0


def _volume_ratio(counts: Mapping[Period, int], period: Period) -> float | None:
    """Compare the rows of a week with the median of the weeks before it."""
    before = [rows for week, rows in counts.items() if week < period][-WEEKS_BEFORE:]
    usual = median(before) if len(before) >= _FEWEST_WEEKS else 0
    return counts.get(period, 0) / usual if usual else None


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
