"""Check a table: measure it, compare it with what it should be, and record every metric."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date

from sqp_refresh.alerts import rules
from sqp_refresh.checks import data_quality, metric_sql
from sqp_refresh.checks.certificates.certify import MATCHING_COLUMNS
from sqp_refresh.checks.certificates.target_sums import certified_columns
from sqp_refresh.checks.data_quality import Recorded
from sqp_refresh.checks.evaluate import Measurement, Verdict, evaluate
from sqp_refresh.checks.failed_periods import keep_failed, mark_edited
from sqp_refresh.checks.integrity import UNMATCHED_ASIN_WEEKS, has_integrity
from sqp_refresh.checks.measure_periods import measure_periods
from sqp_refresh.checks.metrics import METRICS, Metric, with_thresholds
from sqp_refresh.control import audit_log
from sqp_refresh.control.audit_log import Run
from sqp_refresh.errors import NotFound
from sqp_refresh.ledger.finality import ALL_COMPLETE, ArrivingWeeks, read_arriving
from sqp_refresh.ledger.ledger import row_counts
from sqp_refresh.ledger.verdicts import failed_periods
from sqp_refresh.model.periods import Grain, Period, periods_touched, weeks_between
from sqp_refresh.model.tables import SCHEMA, SourceSpec, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry import refresh_config

_DAY = re.compile(r"\d{4}-\d\d-\d\d")
"""A period in a measurement by its first day, which is not the whole table."""


def metrics_of(table: Table) -> list[Metric]:
    """List the metrics that make sense for a table."""
    names = metric_sql.metric_names(table) | {"rerun_changes"}
    if certified_columns(table):
        names.add(MATCHING_COLUMNS)
    if has_integrity(table):
        names.add(UNMATCHED_ASIN_WEEKS)
    if table.source:
        names |= {"quarantined_ratio", *_metrics_of_source(table.source)}
    if table.grain is not Grain.TABLE:
        names.add("missing_weeks")
    if table.grain.published is Grain.WEEK:
        names |= {"volume_ratio", "freshness_days"}
    return [metric for metric in METRICS.values() if metric.name in names]


def _metrics_of_source(source: SourceSpec) -> Iterator[str]:
    """Name what is odd about the rows of a source, where it can be."""
    if source.is_vendor_report:
        yield "shared_keys"
    if source.week_title:
        yield from ("off_midnight", "out_of_reach")


def run_checks(
    session: Session,
    table: Table,
    weeks: Iterable[Period] | None,
    *,
    today: date,
    only: Collection[str] = (),
    and_failed: bool = False,
    run_id: str | None = None,
) -> list[Verdict]:
    """Check a table's periods, and record what every metric says of them for its latest refresh.

    Where one says that there is an error, receivers of alerts are told so. Periods that failed when
    they were last judged are judged again with any others: what is recorded is true of them, too.

        run_checks(session, TABLES["monthly_summary"], None, today=date.today())

    Args:
        session: A session in a transaction.
        table: The table.
        weeks: The weeks whose periods are checked; None is all that the table has rows of, and then
            every period is looked at for rows that somebody else has written, too.
        today: The day that freshness is counted from.
        only: Names of the checks to make; none is all of them.
        and_failed: Whether to return also what is said of the periods that failed before.
        run_id: The run that checks: what it has refreshed itself, it need not look through again
            for what somebody else may have written.

    Raises:
        NotFound: the table was never refreshed, so there is nothing to check.
        SettingsError: a threshold is malformed.
    """
    run = audit_log.find_latest_run(session, table)
    if run is None:
        raise NotFound(f"{SCHEMA}.{table.name} was never refreshed, so there is nothing to check")
    thresholds = refresh_config.require_registered(session, table).sync_params.quality
    metrics = with_thresholds(metrics_of(table), thresholds)
    metrics = [metric for metric in metrics if not only or metric.check in only]
    counts = row_counts(session, table)
    asked = list(counts if weeks is None else periods_touched(weeks, table.grain))
    failed = sorted({*failed_periods(session, table)} - {*asked})
    is_own = run_id is not None and run.metadata.get("run_id") == run_id
    names = ("weeks", "skipped") if is_own else ()
    unedited = {period for name in names for period in run.metadata.get(name, ())}
    arriving, requested = read_arriving(session, table), sorted([*asked, *failed])
    measured = measure_periods(session, table, requested, counts, unedited, arriving)
    for name, value in _of_table(table, counts, run, today, arriving):
        measured.measurements[name].append(Measurement(name, "the whole table", value))
    measured.measurements["out_of_reach"].extend(_out_of_reach(run))
    verdicts = evaluate({metric: measured.measurements[metric.name] for metric in metrics})
    _record(session, table, run, verdicts)
    keep_failed(session, table, measured, verdicts)
    if weeks is None:
        mark_edited(session, table)
    if and_failed or weeks is None or not failed:
        return verdicts
    return evaluate({metric: measured.of(metric.name, without=failed) for metric in metrics})


def _record(session: Session, table: Table, run: Run, verdicts: Sequence[Verdict]) -> None:
    """Record the verdicts for a run, and alert receivers of errors."""
    data_quality.record(session, run.id, map(_recorded, verdicts))
    errors = [verdict for verdict in verdicts if verdict.ok is False and verdict.is_error]
    failing = {measurement.period for verdict in errors for measurement in verdict.failing}
    rules.alert_failed_checks(
        session,
        table,
        [str(verdict) for verdict in errors],
        weeks=sorted(period for period in failing if _DAY.fullmatch(period)),
        audit_log_id=run.id,
        metadata=run.metadata,
    )


def _recorded(verdict: Verdict) -> Recorded:
    metric = verdict.metric
    return Recorded(
        metric.name, verdict.value, verdict.expected, metric.minimum, metric.maximum, verdict.ok
    )


def _of_table(
    table: Table,
    counts: Mapping[Period, int],
    run: Run,
    today: date,
    arriving: ArrivingWeeks = ALL_COMPLETE,
) -> Iterator[tuple[str, int]]:
    """Measure what no single period tells."""
    yield "rerun_changes", run.metadata.get("rerun_changes") or 0
    if not counts or table.grain is Grain.TABLE:
        return
    first, last = min(counts), max(counts)
    if complete := [period for period in counts if not arriving.has(period)]:
        yield "freshness_days", max(0, (today - max(complete).end).days)
    # The first day of a month is not that of a week: the week that holds it began before.
    weeks = [week for week in weeks_between(first.start, last.end) if week.start >= first.start]
    between = periods_touched(weeks, table.grain)
    yield "missing_weeks", len(set(between) - counts.keys())


def _out_of_reach(run: Run) -> Iterator[Measurement]:
    """Measure the rows that no refresh will look at, in a period that goes from first to last."""
    if reach := run.metadata.get("out_of_reach"):
        dates = [reach["first"], reach["last"]]
        period = f"{dates[0]} to {dates[1]}" if reach["misdated"] else "the whole table"
        yield Measurement("out_of_reach", period, reach["undated"] + reach["misdated"])
