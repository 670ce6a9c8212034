"""Decide on the one instant that all tables of a run read BigQuery as of; its tags say which.

A run that a command starts is tagged from the beginning. Any other one reads as of its start, since
it may have waited in a queue for longer than the week that BigQuery remembers. Its start is what a
machine's clock says; where BigQuery's does not agree, the run reads as of BigQuery's time when its
first table asks.
"""

from datetime import UTC, datetime

import dagster as dg

from sqp_refresh.control.table_lock import wait_for_lock
from sqp_refresh.defs.partitions import (
    AS_OF_RUN_TAG,
    AS_OF_TAG,
    SOURCE_AS_OF_TAG,
    as_of_tags,
)
from sqp_refresh.errors import SettingsError
from sqp_refresh.extract.client import ServerTime
from sqp_refresh.extract.source import AsOf, WantedInstant
from sqp_refresh.postgres.session import connect
from sqp_refresh.settings import Settings


def instant_of_run(context: dg.AssetExecutionContext) -> AsOf:
    """Return the instant of a run or, where it has none yet, what decides on one and tags the run.

    A person who launches a run again in the UI copies the tag, which then names the run that it was
    set for. An instant that a person wants is copied, too, and holds for that run as well.

    Raises:
        dagster.Failure: what a person wants is no instant.
    """
    instance, run_id = context.instance, context.run.run_id
    if text := context.run.tags.get(SOURCE_AS_OF_TAG):
        try:
            return WantedInstant.parse(text)
        except SettingsError as error:
            raise dg.Failure(str(error), allow_retries=False) from None
    return _tagged(instance, run_id) or (lambda time: decide(instance, run_id, time))


def decide(instance: dg.DagsterInstance, run_id: str, time: ServerTime) -> datetime:
    """Decide on the instant of a run, and tag the run with it, unless another process has done so.

    Args:
        instance: Where the run is.
        run_id: Its id.
        time: The time at BigQuery.
    """
    record = instance.get_run_record_by_id(run_id)
    if record is None or record.start_time is None:
        return time.now
    start = datetime.fromtimestamp(record.start_time, UTC)
    if not time.ahead and start <= time.now:
        # Each process of the run comes to the same instant, whichever of them tags it.
        return _tag(instance, run_id, start)
    with connect(Settings.read().database_url) as session, session.transaction():
        # Another process of the run may be deciding, too.
        wait_for_lock(session, f"sqp_refresh as of {run_id}")
        return _tagged(instance, run_id) or _tag(instance, run_id, time.now)


def _tag(instance: dg.DagsterInstance, run_id: str, as_of: datetime) -> datetime:
    instance.add_run_tags(run_id, as_of_tags(run_id, as_of))
    return as_of


def _tagged(instance: dg.DagsterInstance, run_id: str) -> datetime | None:
    run = instance.get_run_by_id(run_id)
    tags = run.tags if run else {}
    return datetime.fromisoformat(tags[AS_OF_TAG]) if tags.get(AS_OF_RUN_TAG) == run_id else None
