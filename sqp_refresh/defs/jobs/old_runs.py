"""Delete old runs from Dagster's own storage, which keeps every event of every run otherwise."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from sqp_refresh.defs.dagster_internals import FINISHED_STATUSES
from sqp_refresh.settings import Settings

MATERIALIZATION = dg.DagsterEventType.ASSET_MATERIALIZATION


def delete_old_runs(
    instance: dg.DagsterInstance, settings: Settings, *, now: datetime | None = None
) -> int:
    """Delete the runs that ended before REFRESH_KEEP_DAGSTER_RUNS_DAYS, and return how many.

    A run that last materialized some partition stays: by its events, the UI knows that the
    partition is filled.

    Args:
        instance: Where the runs are.
        settings: How many days are kept.
        now: When it is by the clock of Dagster's machine, which dates runs; now by default.
    """
    days = timedelta(days=settings.REFRESH_KEEP_DAGSTER_RUNS_DAYS)
    ended_before = dg.RunsFilter(
        statuses=list(FINISHED_STATUSES), updated_before=(now or datetime.now(UTC)) - days
    )
    old = set(instance.get_run_ids(ended_before))
    to_delete = old - _last_to_materialize(instance) if old else old
    for run_id in to_delete:
        instance.delete_run(run_id)
    return len(to_delete)


def _last_to_materialize(instance: dg.DagsterInstance) -> set[str]:
    """Return the runs whose events say what each partition, and each whole asset, holds."""
    runs: set[str] = set()
    for key in instance.get_asset_keys():
        latest = instance.get_latest_storage_id_by_partition(key, MATERIALIZATION).values()
        of_partitions = dg.AssetRecordsFilter(key, storage_ids=[*latest])
        events = [*instance.fetch_materializations(key, 1).records]
        if latest:
            events += instance.fetch_materializations(of_partitions, len(latest)).records
        runs |= {event.run_id for event in events}
    return runs
