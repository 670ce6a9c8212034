"""Weeks as Dagster partitions (a week's key is its Sunday), and what a run's tags say of it."""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import UTC, date, datetime

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARENT_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    RETRY_NUMBER_TAG,
    ROOT_RUN_ID_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
)

from sqp_refresh.model.periods import Period, weeks_between
from sqp_refresh.refresh.request import Trigger

TICK_TAG = "sqp_refresh/tick"
"""The tick of the schedule that a run serves, whoever launched it."""

RERUN_TAG = "sqp_refresh/rerun"
"""How many times the work of a run has been launched again."""


def weekly_partitions(first_week: date) -> dg.WeeklyPartitionsDefinition:
    """Every finished week since the first one; a week becomes a partition when it has ended."""
    return dg.WeeklyPartitionsDefinition(start_date=first_week.isoformat(), timezone="UTC")


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of the job cover the weeks from `first` to `last`."""
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def tags_of_work(tags: Mapping[str, str]) -> dict[str, str]:
    """Those of a run's tags that say which weeks it covers, and for which tick."""
    first, last = _bounds(tags)
    work = range_tags(first, last) if first and last else {}
    return work | ({TICK_TAG: tags[TICK_TAG]} if TICK_TAG in tags else {})


def weeks_of_run(context: dg.OpExecutionContext) -> Sequence[Period] | None:
    """The weeks that a run covers; None where it was launched for no week in particular.

    An asset without partitions learns them from the run's tags: it is refreshed in the same run
    as the weekly ones that it is computed from.
    """
    if context.has_partition_key or context.has_partition_key_range:
        first, last = context.partition_key_range.start, context.partition_key_range.end
    else:
        first, last = _bounds(context.run.tags)
    if not first or not last:
        return None
    return list(weeks_between(date.fromisoformat(first), date.fromisoformat(last)))


def tick_of_run(tags: Mapping[str, str]) -> datetime | None:
    """The tick of the schedule that a run serves; None where it serves none."""
    return datetime.fromisoformat(tags[TICK_TAG]) if TICK_TAG in tags else None


def root_of_run(tags: Mapping[str, str]) -> str | None:
    """The run that a run is a re-run of, however often; None where it is none."""
    return tags.get(ROOT_RUN_ID_TAG)


def launcher_of_run(tags: Mapping[str, str]) -> Trigger:
    """Who launched a run; whoever launches one again from the UI keeps the tags of the first."""
    if PARENT_RUN_ID_TAG in tags and RERUN_TAG not in tags:
        return Trigger.RETRY if RETRY_NUMBER_TAG in tags else Trigger.PERSON
    if SENSOR_NAME_TAG in tags:
        return Trigger.SENSOR
    return Trigger.SCHEDULE if SCHEDULE_NAME_TAG in tags else Trigger.PERSON


ASKED_AS_OF: ContextVar[datetime | None] = ContextVar("ASKED_AS_OF", default=None)
"""The instant of which this process asked the source already, for a run that it does itself."""


def instant_of_run(context: dg.AssetExecutionContext) -> datetime | None:
    """The instant that all tables of a run read the source as of: as a rule, when it began."""
    if asked_as_of := ASKED_AS_OF.get():
        return asked_as_of
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None or record.start_time is None:
        return None
    return datetime.fromtimestamp(record.start_time, UTC)


def _bounds(tags: Mapping[str, str]) -> tuple[str | None, str | None]:
    one = tags.get(PARTITION_NAME_TAG)
    return (
        tags.get(ASSET_PARTITION_RANGE_START_TAG, one),
        tags.get(ASSET_PARTITION_RANGE_END_TAG, one),
    )
