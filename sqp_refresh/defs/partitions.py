"""Read and write the tags of runs: the weeks that a run covers, its tick, its instant, its origin.

A week is a Dagster partition, whose key is its Sunday.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import dagster as dg

from sqp_refresh.defs.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    HIDDEN_TAG_PREFIX,
    PARENT_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    RETRY_NUMBER_TAG,
    ROOT_RUN_ID_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
    SYSTEM_TAG_PREFIX,
    USER_EDITABLE_SYSTEM_TAGS,
)
from sqp_refresh.model.periods import Period, weeks_between
from sqp_refresh.refresh.request import Trigger

TICK_TAG = "sqp_refresh/tick"
"""The tick of the schedule that a run serves, whoever launched it."""

RERUN_TAG = "sqp_refresh/rerun"
"""How many times the work of a run has been launched again."""

AS_OF_TAG = "sqp_refresh/as_of"
"""The instant, in UTC, that all tables of a run read BigQuery as of."""

AS_OF_RUN_TAG = "sqp_refresh/as_of_run"
"""The run that AS_OF_TAG was set for; another run that has the tag has copied it."""

SOURCE_AS_OF_TAG = "sqp_refresh/source_as_of"
"""The instant that a person wants the source as of, for a run and its re-runs."""

REQUEST_TAG = "sqp_refresh/request"
"""The request of `sqp.refresh_requests` that a run serves, as do its re-runs."""

_TAGS_OF_ONE_RUN = {RERUN_TAG, AS_OF_TAG, AS_OF_RUN_TAG}


def weekly_partitions(first_week: date) -> dg.WeeklyPartitionsDefinition:
    """Return every finished week since the first one; a week is a partition once it has ended."""
    return dg.WeeklyPartitionsDefinition(start_date=first_week.isoformat(), timezone="UTC")


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags that make one run of the job cover the weeks from `first` to `last`."""
    return {ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last}


def as_of_tags(run_id: str, as_of: datetime) -> dict[str, str]:
    """Return the tags that make a run read BigQuery as of an instant.

    Args:
        run_id: The run to tag.
        as_of: The instant; BigQuery remembers a week of them.
    """
    return {AS_OF_TAG: as_of.astimezone(UTC).isoformat(), AS_OF_RUN_TAG: run_id}


def tags_of_work(tags: Mapping[str, str]) -> dict[str, str]:
    """Return those of a run's tags that its re-runs need: its weeks, its tick, and people's own.

    Not the instant: a re-run reads BigQuery as it is then. Nor what Dagster has noted of the run.
    """
    first, last = _bounds(tags)
    work = range_tags(first, last) if first and last else {}
    return work | {name: value for name, value in tags.items() if _is_of_work(name)}


def weeks_of_run(context: dg.OpExecutionContext) -> Sequence[Period] | None:
    """List the weeks that a run covers; None where it was launched for no week in particular.

    An asset without partitions learns them from the run's tags: it is refreshed in the same run
    as the weekly ones that it is computed from.

    Raises:
        dagster.Failure: what the run names is no range of weeks.
    """
    if context.has_partition_key or context.has_partition_key_range:
        first, last = context.partition_key_range.start, context.partition_key_range.end
    else:
        first, last = _bounds(context.run.tags)
    if not first or not last:
        return None
    try:
        weeks = list(weeks_between(date.fromisoformat(first), date.fromisoformat(last)))
    except ValueError:
        weeks = []
    if not weeks:
        message = (
            f"the partitions {first!r} to {last!r} are no range of weeks: name the Sunday of the "
            "first week, and then that of the last one"
        )
        raise dg.Failure(message, allow_retries=False)
    return weeks


def tick_of_run(tags: Mapping[str, str]) -> datetime | None:
    """Return the tick of the schedule that a run serves; None where it serves none."""
    return datetime.fromisoformat(tags[TICK_TAG]) if TICK_TAG in tags else None


def root_of_run(tags: Mapping[str, str]) -> str | None:
    """Return the run that a run is a re-run of, however often; None where it is none."""
    return tags.get(ROOT_RUN_ID_TAG)


def launcher_of_run(tags: Mapping[str, str]) -> Trigger:
    """Return who launched a run; one that is launched again in the UI keeps the tags it had."""
    if PARENT_RUN_ID_TAG in tags and RERUN_TAG not in tags:
        return Trigger.RETRY if RETRY_NUMBER_TAG in tags else Trigger.PERSON
    if REQUEST_TAG in tags and RERUN_TAG not in tags:
        return Trigger.PERSON
    if SENSOR_NAME_TAG in tags:
        return Trigger.SENSOR
    return Trigger.SCHEDULE if SCHEDULE_NAME_TAG in tags else Trigger.PERSON


def _is_of_work(tag: str) -> bool:
    """Return whether a tag says something of a run's work, whoever launches it."""
    if tag in _TAGS_OF_ONE_RUN:
        return False
    is_of_dagster = tag.startswith((SYSTEM_TAG_PREFIX, HIDDEN_TAG_PREFIX))
    return not is_of_dagster or tag in USER_EDITABLE_SYSTEM_TAGS


def _bounds(tags: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Return the first and the last week of a run; None where its tags name none."""
    week = tags.get(PARTITION_NAME_TAG)
    return (
        tags.get(ASSET_PARTITION_RANGE_START_TAG, week),
        tags.get(ASSET_PARTITION_RANGE_END_TAG, week),
    )
