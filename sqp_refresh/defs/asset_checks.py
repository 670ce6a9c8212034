"""Define the asset checks, which run with every refresh of their table, or alone."""

import warnings
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import Any

import dagster as dg

from sqp_refresh.checks.evaluate import Verdict
from sqp_refresh.checks.metrics import CheckSeverity, Metric
from sqp_refresh.checks.run_checks import metrics_of, run_checks
from sqp_refresh.defs.partitions import weekly_partitions, weeks_of_run
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.retrying import retrying
from sqp_refresh.settings import Settings

_BY_PERIOD = dg.TableSchema(
    [
        dg.TableColumn(
            "period", description="First day, and the marketplace where one is measured alone"
        ),
        dg.TableColumn("metric", description=f"As in {SCHEMA}.refresh_data_quality"),
        dg.TableColumn("value", description="What the table holds"),
        dg.TableColumn("expected", description="What the source says"),
        dg.TableColumn("verdict"),
    ]
)


def table_checks(settings: Settings, catalog: Catalog) -> list[dg.AssetChecksDefinition]:
    """Define the checks of all tables; those of one table are one step."""
    return [_checks(table, settings) for table in catalog.tables.values()]


def _checks(table: Table, settings: Settings) -> dg.AssetChecksDefinition:
    weekly = table.grain.published is Grain.WEEK
    weeks = weekly_partitions(settings.REFRESH_START_DATE) if weekly else None
    with warnings.catch_warnings():
        # A check of a range of weeks depends on it, preview or not.
        warnings.filterwarnings("ignore", "Specifying a partitions_def", dg.PreviewWarning)
        specs = [
            _spec(table, name, list(metrics), weeks)
            for name, metrics in groupby(metrics_of(table), key=lambda metric: metric.check)
        ]

    @dg.multi_asset_check(name=f"{table.name}_checks", specs=specs, can_subset=True)
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected = {key.name for key in context.selected_asset_check_keys}
        run = context.op_execution_context
        verdicts = evaluate_checks(table, weeks_of_run(run), selected, run.run_id)
        for name, of_check in groupby(verdicts, key=lambda verdict: verdict.metric.check):
            yield _result(name, list(of_check))

    return checks


def _spec(
    table: Table, name: str, metrics: Sequence[Metric], weeks: dg.PartitionsDefinition | None
) -> dg.AssetCheckSpec:
    descriptions = "; ".join(dict.fromkeys(metric.description for metric in metrics))
    return dg.AssetCheckSpec(
        name,
        asset=dg.AssetKey([SCHEMA, table.name]),
        description=f"Measures {descriptions}. Where it fails, it {metrics[0].severity}.",
        blocking=metrics[0].severity is CheckSeverity.BLOCKS,
        partitions_def=weeks,
    )


def evaluate_checks(
    table: Table,
    weeks: Sequence[Period] | None,
    checks: Collection[str] = (),
    run_id: str | None = None,
) -> list[Verdict]:
    """Evaluate a table's checks, and again where the database could not be reached.

    Args:
        table: The table.
        weeks: The weeks whose periods are checked; None is all that the table has rows of.
        checks: Names of the checks to evaluate; none is all of them.
        run_id: The run that evaluates them, which may have refreshed the table itself.

    Raises:
        NotFound: the table was never refreshed, so there is nothing to check.
        RefreshError: see `errors`.
    """

    def evaluate() -> list[Verdict]:
        with connect(Settings.read().database_url) as session, session.transaction():
            today = session.now().date()
            return run_checks(
                session, table, weeks, today=today, only=checks, and_failed=True, run_id=run_id
            )

    return retrying()(evaluate)


def _result(name: str, verdicts: Sequence[Verdict]) -> dg.AssetCheckResult:
    failing = [verdict for verdict in verdicts if verdict.ok is False]
    is_error = any(verdict.is_error for verdict in failing)
    metadata: dict[str, Any] = {}
    for verdict in verdicts:
        if verdict.value is not None:
            metadata[f"sqp/{verdict.metric.name}"] = verdict.value
        if verdict.expected is not None:
            metadata[f"sqp/{verdict.metric.name}_expected"] = verdict.expected
    records = [record for verdict in verdicts for record in _records(verdict)]
    return dg.AssetCheckResult(
        check_name=name,
        passed=not failing,
        severity=dg.AssetCheckSeverity.ERROR if is_error else dg.AssetCheckSeverity.WARN,
        description="; ".join(map(str, failing)) or None,
        metadata=metadata | {"sqp/by_period": dg.TableMetadataValue(records, _BY_PERIOD)},
    )


def _records(verdict: Verdict) -> Iterator[dg.TableRecord]:
    for measurement in verdict.measurements:
        yield dg.TableRecord(
            {
                "period": measurement.place,
                "metric": measurement.metric,
                "value": measurement.value,
                "expected": measurement.expected,
                "verdict": verdict.of(measurement),
            }
        )
