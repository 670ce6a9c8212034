"""Weeks as Dagster partitions: a week's key is its Sunday."""

from collections.abc import Sequence
from datetime import date

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from sqp_refresh.weeks import Period, weeks_between


def weekly_partitions(first_week: date) -> dg.WeeklyPartitionsDefinition:
    """Every finished week since the first one; a week becomes a partition when it has ended."""
    return dg.WeeklyPartitionsDefinition(start_date=first_week.isoformat(), timezone="UTC")


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of the job cover the weeks from `first` to `last`."""
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def weeks_of_run(context: dg.AssetExecutionContext) -> Sequence[Period] | None:
    """The weeks that a run covers; None where it was launched for no week in particular.

    An asset without partitions learns them from the run's tags: it is refreshed in the same run
    as the weekly ones that it is computed from.
    """
    if context.has_partition_key or context.has_partition_key_range:
        first, last = context.partition_key_range.start, context.partition_key_range.end
    else:
        tags = context.run.tags
        one = tags.get(PARTITION_NAME_TAG)
        first = tags.get(ASSET_PARTITION_RANGE_START_TAG, one)
        last = tags.get(ASSET_PARTITION_RANGE_END_TAG, one)
    if not first or not last:
        return None
    return list(weeks_between(date.fromisoformat(first), date.fromisoformat(last)))
