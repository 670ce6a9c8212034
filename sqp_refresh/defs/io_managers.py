"""Read an asset's rows from BigQuery, and write them into Postgres.

Both I/O managers read the settings when a run needs them, so that a code location loads without.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg
from pydantic import Field

from sqp_refresh.checks.evaluate import load_pandera
from sqp_refresh.control.materialized_views import refresh_materialized_views
from sqp_refresh.defs.dagster_internals import DATA_VERSION_TAG, raise_interrupts_as
from sqp_refresh.defs.metadata import observed_metadata, place_in_postgres, source_key
from sqp_refresh.defs.partitions import RERUN_TAG, launcher_of_run, root_of_run, tick_of_run
from sqp_refresh.errors import Permanent, RefreshError
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.extract.source import AsOf, BigQuerySource
from sqp_refresh.load.result import Counts
from sqp_refresh.model.periods import Period, finished_weeks
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.session import read_clock
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import Source, source_for
from sqp_refresh.settings import Settings


@dataclass(frozen=True, slots=True)
class SourceHandle:
    """What an asset receives: BigQuery, from which nothing is read yet.

    Attributes:
        settings: Where BigQuery is.
        queries: The queries of the run, which its tables share.
    """

    settings: Settings
    queries: RunQueries

    def read(self, table: Table, weeks: Sequence[Period] | None, as_of: AsOf) -> Source:
        """Return the source of a table's rows; reading starts when they are loaded.

        Args:
            table: The table to fill.
            weeks: The weeks to read; None means every finished week since the first.
            as_of: When to read BigQuery as of, or what decides it.
        """
        if weeks is None:
            now = read_clock(self.settings.database_url)
            weeks = finished_weeks(self.settings.REFRESH_START_DATE, now.date())
        # The checks come next in this process, unless each step has a process of its own.
        return source_for(
            self.settings, table, weeks, as_of, queries=self.queries, while_waiting=load_pandera
        )


class BigQueryIOManager(dg.IOManager):
    """Hands an asset its source in BigQuery, to which nothing is ever written."""

    def __init__(self, queries: RunQueries) -> None:
        self._queries = queries

    def load_input(self, context: dg.InputContext) -> SourceHandle:
        """Return the source, unread."""
        return SourceHandle(Settings.read(), self._queries)

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Refuse: the source belongs to the vendor."""
        raise dg.DagsterInvariantViolationError("the BigQuery source is read only")


def bigquery_io_manager(queries: RunQueries | None = None) -> dg.IOManagerDefinition:
    """Define the resource that owns the queries of a run, one for each process of the run.

    Args:
        queries: Those that the process has already begun for the run; None where it has begun none.
    """

    @dg.io_manager(description="Reads the vendor's table in BigQuery.")
    def bigquery(_: dg.InitResourceContext) -> BigQueryIOManager:
        return BigQueryIOManager(RunQueries() if queries is None else queries)

    return bigquery


class PostgresIOManager(dg.ConfigurableIOManager):
    """Refreshes an asset's table from its source, and reports the exact counts."""

    force: bool = Field(default=False, description="copy also the weeks that have not changed")
    accept: bool = Field(
        default=False, description="hold no week back, however much of it has changed"
    )

    # Dagster takes a generator, though its base class is typed to return nothing.
    def handle_output(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, context: dg.OutputContext, obj: Source
    ) -> Iterator[dg.AssetMaterialization]:
        """Refresh the table from what the asset returned.

        Yields:
            Something only where the refresh fails, and nothing that Dagster keeps: it takes what
            was logged whenever this yields, and would lose it with the exception.
        """
        settings, tags = Settings.read(), context.step_context.dagster_run.tags
        request = RefreshRequest(
            context.run_id,
            root_run_id=root_of_run(tags),
            force=self.force,
            accept=self.accept,
            tick=tick_of_run(tags),
            keeps_history=settings.REFRESH_KEEP_HISTORY_DAYS > 0,
            writers=settings.REFRESH_WRITERS,
            budget_ms=settings.REFRESH_TIMEOUT_WARNING_MS,
            launched_by=launcher_of_run(tags),
            rerun=int(tags.get(RERUN_TAG, 0)),
        )
        try:
            result = refresh(settings.database_url, obj, request)
        except RefreshError as error:
            _log_observation(context, settings, obj)
            yield from _log_published(context, error.published)
            if isinstance(error, Permanent):
                raise dg.Failure(str(error), allow_retries=False) from None
            raise
        _log_observation(context, settings, obj)
        for warning in result.warnings:
            context.log.warning(warning)
        context.add_output_metadata(_metadata(settings, result))
        weeks = context.asset_partition_keys if context.has_asset_partitions else ()
        for week, metadata in _metadata_by_week(result, weeks):
            context.step_context.add_asset_metadata(metadata, partition_key=week)

    def load_input(self, context: dg.InputContext) -> None:
        """Load nothing: a derived table reads its parents inside Postgres."""

    def teardown_after_execution(self, context: dg.InitResourceContext) -> None:
        """Refresh the materialized views that read what the run has changed, however it ended.

        It is the last that each process of a run does: of a run in one process, once all tables
        are done. Its outcome is none of the run's, which has ended well or badly before.
        """
        if context.run is None or context.log is None:
            return
        root = root_of_run(context.run.tags)
        try:
            with raise_interrupts_as(KeyboardInterrupt):
                for outcome in refresh_materialized_views(
                    Settings.read(), context.run.run_id, [root] if root else []
                ):
                    log = context.log.info if outcome.warning is None else context.log.warning
                    log(str(outcome))
        except (RefreshError, KeyboardInterrupt) as error:
            reason = str(error) or "the run was interrupted"
            context.log.warning(f"materialized views are left to the next refresh: {reason}")


def _log_published(
    context: dg.OutputContext, rows_by_week: Mapping[str, int]
) -> Iterator[dg.AssetMaterialization]:
    """Log the weeks that are published although the step fails, so that only the others do."""
    weeks = set(context.asset_partition_keys if context.has_asset_partitions else ())
    published = [
        dg.AssetMaterialization(
            context.asset_key, partition=week, metadata={"dagster/partition_row_count": rows}
        )
        for week, rows in rows_by_week.items()
        if week in weeks
    ]
    for materialization in published:
        context.log_event(materialization)
    yield from published[-1:]


def _log_observation(context: dg.OutputContext, settings: Settings, source: Source) -> None:
    """Log what the table in BigQuery held, where the refresh was the first of its run to ask."""
    if not isinstance(source, BigQuerySource) or source.observation is None:
        return
    assert source.table.source, "it is filled from BigQuery"
    key, seen = source_key(settings, source.table.source), source.observation
    context.log_event(
        dg.AssetObservation(
            key, metadata=observed_metadata(seen), tags={DATA_VERSION_TAG: seen.data_version}
        )
    )
    # The step began with an older version of it, which is not what its table was made from.
    context.step_context.wipe_input_asset_version_info(key)


def _metadata(settings: Settings, result: RefreshResult) -> dict[str, Any]:
    """Return what the UI shows of a refresh; it plots the numbers over time."""
    audited = result.metadata
    metadata = {
        "sqp/reconciliation": (audited["reconciliation"] or {}).get("verdict", "not judged"),
        "dagster/row_count": result.table_rows,
        "dagster/table_name": place_in_postgres(settings, result.table.name)["dagster/table_name"],
        "sqp/weeks": len(result.periods),
        "sqp/weeks_skipped": len(result.skipped),
        "sqp/weeks_held_back": len(result.held),
        **_rows_of(result.counts),
        "sqp/rows_withdrawn": result.withdrawn,
        "sqp/rows_left_out": result.rejected_at_source,
        "sqp/rows_per_second": result.rows_per_second,
        "sqp/seconds": round(result.seconds, 3),
        "sqp/read_by": result.stats.method or "nothing read",
        # Text, as it means nothing when it is plotted.
        "sqp/audit_log_id": str(result.audit_log_id),
    }
    if audited["schema_changes"]:
        metadata["sqp/schema_changes"] = "; ".join(audited["schema_changes"])
    return metadata


def _metadata_by_week(
    result: RefreshResult, partition_keys: Sequence[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Return what the UI shows of each week, in place of what is so of the whole run."""
    rows, reasons = result.rows_by_period, result.reasons
    verdicts = (result.metadata["reconciliation"] or {}).get("weeks", {})
    for week in reasons:
        if (key := str(week)) in partition_keys:
            yield (
                key,
                {
                    "dagster/partition_row_count": rows.get(week, 0),
                    "sqp/decision": reasons[week].value,
                    "sqp/reconciliation": verdicts.get(key, "as when it was last loaded"),
                    **_rows_of(result.periods.get(week, Counts())),
                },
            )


def _rows_of(counts: Counts) -> dict[str, int]:
    return {
        "sqp/rows_read": counts.read,
        "sqp/rows_inserted": counts.inserted,
        "sqp/rows_updated": counts.updated,
        "sqp/rows_deleted": counts.deleted,
        "sqp/rows_unchanged": counts.unchanged,
        "sqp/rows_superseded": counts.superseded,
        "sqp/rows_quarantined": counts.quarantined,
    }
