"""Request runs for what failed runs have left: soon at first, then later, and not for ever.

What a person ended stays ended: a run that was terminated in the UI, which Dagster calls canceled,
or interrupted at a terminal.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg

from sqp_refresh.control.reruns import (
    Outcome,
    read_outcome,
    tables_skipped_by_soft_parents,
    tables_to_rerun,
)
from sqp_refresh.defs.dagster_internals import (
    PARENT_RUN_ID_TAG,
    ROOT_RUN_ID_TAG,
    WILL_RETRY_TAG,
)
from sqp_refresh.defs.partitions import RERUN_TAG, tags_of_work
from sqp_refresh.defs.run_requests.code_location import is_of, is_of_command, tables_of
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry.catalog import Catalog

PAUSES = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=25))
"""How long after a failure its first, second and third re-run start; a day has no fourth."""

TOOK_TOO_LONG = "exceeding maximum runtime"
"""What Dagster notes of a run that it cancels of its own accord."""

DAY = timedelta(days=1)
CANCELING = dg.DagsterRunStatus.CANCELING
UNFINISHED = (dg.DagsterRunStatus.STARTED, CANCELING)


@dataclass(frozen=True, slots=True)
class _Failure:
    """A run that failed.

    Attributes:
        run: The run.
        number: How many re-runs led to it.
        age: How long ago it ended.
        launched: The numbers of the re-runs that it has already; 0 is that of the tables which a
            soft parent kept from being refreshed.
    """

    run: dg.DagsterRun
    number: int
    age: timedelta
    launched: frozenset[int]


def request_reruns(
    instance: dg.DagsterInstance, session: Session, catalog: Catalog, location: str | None
) -> Iterator[dg.RunRequest]:
    """Request a run for each failed run of the last day that left something worth it, in time.

    Args:
        instance: Where the runs are, those of other code locations among them.
        session: The target of this code location.
        catalog: The tables that there are.
        location: Name of this code location; None where there is no other.
    """
    now = datetime.now(UTC)
    _report_dead_runs(instance, session, now, location)
    failed = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - DAY)
    for record in instance.get_run_records(failed):
        if not is_of(location, record.dagster_run):
            continue
        if failure := _failure_of(instance, record, now):
            yield from _rerun(instance, session, catalog, failure, location)


def _failure_of(
    instance: dg.DagsterInstance, record: dg.RunRecord, now: datetime
) -> _Failure | None:
    """Describe a failed run; None where Dagster itself, or a person, runs it again."""
    run = record.dagster_run
    reruns = instance.get_runs(dg.RunsFilter(tags={PARENT_RUN_ID_TAG: run.run_id}))
    if run.tags.get(WILL_RETRY_TAG) == "true":
        return None
    if any(RERUN_TAG not in rerun.tags for rerun in reruns):
        return None
    ended = datetime.fromtimestamp(record.end_time or now.timestamp(), UTC)
    launched = frozenset(int(rerun.tags[RERUN_TAG]) for rerun in reruns)
    return _Failure(run, int(run.tags.get(RERUN_TAG, 0)), now - ended, launched)


def _rerun(
    instance: dg.DagsterInstance,
    session: Session,
    catalog: Catalog,
    failure: _Failure,
    location: str | None,
) -> Iterator[dg.RunRequest]:
    """Request what a failed run has left, if its time has come, and if no person ended it."""
    run, number = failure.run, failure.number
    requested, outcome = tables_of(catalog, run), _read_outcome(session, run)
    if _is_ended_by_person(instance, run, outcome):
        return
    parents = {name: table.parents for name, table in catalog.tables.items()}
    soft = tables_skipped_by_soft_parents(requested, outcome, parents)
    if soft and number not in failure.launched:
        yield _request(run, soft, number)
    if number < len(PAUSES) and number + 1 not in failure.launched:
        left = tables_to_rerun(requested, outcome, parents)
        left = {table for table in left if _reruns_today(instance, table, location) < len(PAUSES)}
        # Without anything else, these were just refreshed without their soft parents.
        if left - soft and failure.age >= PAUSES[number]:
            yield _request(run, left, number + 1)


def _request(run: dg.DagsterRun, tables: set[str], number: int) -> dg.RunRequest:
    lineage = {
        PARENT_RUN_ID_TAG: run.run_id,
        ROOT_RUN_ID_TAG: run.tags.get(ROOT_RUN_ID_TAG, run.run_id),
    }
    return dg.RunRequest(
        run_key=f"{run.run_id} {number}",
        asset_selection=asset_keys(sorted(tables)),
        run_config=dict(run.run_config),
        tags=tags_of_work(run.tags) | lineage | {RERUN_TAG: str(number)},
    )


def _read_outcome(session: Session, run: dg.DagsterRun) -> Outcome:
    # Dagster's storage is asked next, for which no transaction stands idle.
    with session.transaction():
        return read_outcome(session, run.run_id)


def _is_ended_by_person(instance: dg.DagsterInstance, run: dg.DagsterRun, outcome: Outcome) -> bool:
    """Return whether a person ended a run, rather than a failure or the end of its machine."""
    # In the process of a command, there is a person at the terminal.
    if outcome.is_interrupted and is_of_command(run):
        return True
    # Dagster fails a run that died while it was being canceled. It also cancels one that took
    # too long, which is nobody's wish.
    requests = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_CANCELING)
    return any(TOOK_TOO_LONG not in request.message for request in requests)


def _reruns_today(instance: dg.DagsterInstance, table: str, location: str | None) -> int:
    """Count the re-runs of a table in the last 24 hours."""
    numbers = [str(number + 1) for number in range(len(PAUSES))]
    today = datetime.now(UTC) - DAY
    launched = instance.get_runs(dg.RunsFilter(tags={RERUN_TAG: numbers}, created_after=today))
    key = dg.AssetKey([SCHEMA, table])
    return sum(key in (run.asset_selection or ()) and is_of(location, run) for run in launched)


def _report_dead_runs(
    instance: dg.DagsterInstance, session: Session, now: datetime, location: str | None
) -> None:
    """Tell Dagster of runs whose process is gone, which it would show as running for ever.

    One that a person had asked to end is canceled, not failed.
    """
    for run in instance.get_runs(
        dg.RunsFilter(statuses=UNFINISHED, updated_before=now - PAUSES[0])
    ):
        if not is_of(location, run):
            continue
        outcome = _read_outcome(session, run)
        if outcome.is_lost and not outcome.running:
            report = (
                instance.report_run_canceled
                if run.status is CANCELING
                else instance.report_run_failed
            )
            report(run, "its process ended without a word")
