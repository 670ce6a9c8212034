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
    old = instance.get_run_ids(ended_before)
    latest = _latest_materializations(instance) if old else set()
    deleted = 0
    for run_id in old:
        events = instance.get_records_for_run(run_id, of_type=MATERIALIZATION).records
        if latest.isdisjoint(event.storage_id for event in events):
            instance.delete_run(run_id)
            deleted += 1
    return deleted


def _latest_materializations(instance: dg.DagsterInstance) -> set[int]:
    """Return the numbers of the events that say what each partition, and each asset, holds."""
    latest: set[int] = set()
    for key in instance.get_asset_keys():
        latest |= {*instance.get_latest_storage_id_by_partition(key, MATERIALIZATION).values()}
        latest |= {event.storage_id for event in instance.fetch_materializations(key, 1).records}
    return latest
