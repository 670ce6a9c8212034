"""The two ends of every asset: Arrow batches out of BigQuery, COPY into Postgres.

Both read the switches when a run needs them, so that a code location loads without any.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from sqp_refresh.checks.evaluate import load_pandera
from sqp_refresh.defs.partitions import RERUN_TAG, launcher_of_run, root_of_run, tick_of_run
from sqp_refresh.errors import Permanent
from sqp_refresh.model.periods import Period, finished_weeks
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import RefreshRequest, refresh
from sqp_refresh.refresh.sources import Source, source_for
from sqp_refresh.settings import Settings


@dataclass(frozen=True, slots=True)
class SourceHandle:
    """What an asset receives: the source, unread."""

    settings: Settings

    def read(
        self, table: Table, weeks: Sequence[Period] | None, instant: datetime | None
    ) -> Source:
        """The Arrow batches of a table; reading starts when they are loaded.

        Args:
            table: The table whose rows are wanted.
            weeks: The weeks that are wanted; None means every finished week since the first.
            instant: When to read the source as of; None is now.
        """
        if weeks is None:
            weeks = finished_weeks(self.settings.REFRESH_START_DATE, datetime.now(UTC).date())
        # The checks come next in this process, unless each step has one of its own.
        return source_for(self.settings, table, weeks, instant, while_waiting=load_pandera)


class BigQueryIOManager(dg.ConfigurableIOManager):
    """Pulls Arrow batches from the vendor's table; nothing is ever written to it."""

    def load_input(self, context: dg.InputContext) -> SourceHandle:
        """The source, unread."""
        return SourceHandle(Settings.read())

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Refuse: the source belongs to the vendor."""
        raise dg.DagsterInvariantViolationError("the BigQuery source is read only")


class PostgresIOManager(dg.ConfigurableIOManager):
    """Publishes an asset's rows into its table, and reports the exact counts."""

    force: bool = Field(default=False, description="copy also the weeks that have not changed")

    def handle_output(self, context: dg.OutputContext, obj: Source) -> None:
        """Refresh the table from what the asset returned."""
        settings, tags = Settings.read(), context.step_context.dagster_run.tags
        order = RefreshRequest(
            context.run_id,
            root_run_id=root_of_run(tags),
            force=self.force,
            tick=tick_of_run(tags),
            budget_ms=settings.REFRESH_TIMEOUT_WARNING_MS,
            launched_by=launcher_of_run(tags),
            rerun=int(tags.get(RERUN_TAG, 0)),
        )
        try:
            summary = refresh(settings.database_url, obj, order)
        except Permanent as error:
            raise dg.Failure(str(error), allow_retries=False) from None
        for warning in summary.warnings:
            context.log.warning(warning)
        context.add_output_metadata(_metadata(summary))

    def load_input(self, context: dg.InputContext) -> None:
        """Nothing to load: a derived table reads its parents inside Postgres."""


def _metadata(summary: RefreshResult) -> dict[str, Any]:
    counts, metadata = summary.counts, summary.metadata
    told = {"sqp/reconciliation": (metadata["reconciliation"] or {}).get("verdict", "not judged")}
    if metadata["schema_changes"]:
        told["sqp/schema_changes"] = "; ".join(metadata["schema_changes"])
    return told | {
        "dagster/row_count": summary.rows,
        "dagster/table_name": f"{SCHEMA}.{summary.table.name}",
        "sqp/weeks": len(summary.periods),
        "sqp/weeks_skipped": len(summary.skipped),
        "sqp/rows_read": counts.read,
        "sqp/rows_inserted": counts.inserted,
        "sqp/rows_updated": counts.updated,
        "sqp/rows_deleted": counts.deleted,
        "sqp/rows_unchanged": counts.unchanged,
        "sqp/rows_superseded": counts.superseded,
        "sqp/rows_quarantined": counts.quarantined,
        "sqp/rows_left_out": summary.rejected_at_source,
        "sqp/rows_per_second": summary.rows_per_second,
        "sqp/seconds": round(summary.seconds, 3),
        "sqp/read_by": summary.stats.method or "nothing read",
        "sqp/audit_log_id": summary.audit_log_id,
    }
