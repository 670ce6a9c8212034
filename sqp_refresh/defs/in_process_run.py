"""Run the nightly job in this process, for people at a terminal."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from sqp_refresh.control.reruns import read_outcome, tables_skipped_by_soft_parents
from sqp_refresh.defs.dagster_internals import (
    InMemoryJob,
    RunFailureReason,
    execute_run_iterator,
)
from sqp_refresh.defs.instance_storage import has_home, open_instance, with_remedy_of_unset
from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.defs.partitions import SOURCE_AS_OF_TAG, as_of_tags, range_tags
from sqp_refresh.defs.run_requests.code_location import origin_of_command
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.model.periods import Period
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

FAILED = dg.DagsterEventType.RUN_FAILURE


def run_daily_refresh(
    defs: dg.Definitions,
    settings: Settings,
    catalog: Catalog,
    weeks: Sequence[Period],
    tables: Collection[str],
    run_ids: list[str],
    *,
    as_of: datetime | None,
    force: bool = False,
    accept: bool = False,
    source_as_of: datetime | None = None,
) -> dict[str, str]:
    """Run the job that the schedule runs, and report what failed.

    What happened to each table is in its audit row. Ctrl-C ends the run: the table in hand is
    closed as failed at the last week published, the others are not begun, and no sensor runs them
    again. The run itself is kept where DAGSTER_HOME says, and forgotten where it is not set.

    Args:
        defs: The code location.
        settings: Where the audit log is.
        catalog: The tables that there are.
        weeks: The first and the last of them bound the range.
        tables: Names of the tables to refresh.
        run_ids: Holds the id to give the run; where tables are left that can do without a parent
            that failed, a second run refreshes them, whose id is added.
        as_of: When BigQuery is read as of; None leaves it to the run, and so does a second run.
        force: Copy also what has not changed.
        accept: Hold no week back, however much of it has changed.
        source_as_of: The instant that somebody wants BigQuery as of, by any run.

    Returns:
        The message of each step that failed, by the step's key; empty where all went well.

    Raises:
        KeyboardInterrupt: the run was interrupted.
        Unreachable: Dagster's own storage cannot be read or written.
    """
    tags = range_tags(str(weeks[0]), str(weeks[-1]))
    if source_as_of:
        tags |= {SOURCE_AS_OF_TAG: source_as_of.isoformat()}
    instant = as_of_tags(run_ids[0], as_of) if as_of else {}
    config = {"force": force, "accept": accept}
    failures = _run(defs, tables, run_ids[0], tags | instant, config)
    if not failures:
        return {}
    parents = {name: table.parents for name, table in catalog.tables.items()}
    with connect(settings.database_url) as session:
        outcome = read_outcome(session, run_ids[0])
    left = tables_skipped_by_soft_parents(tables, outcome, parents)
    if left:
        run_ids.append(str(uuid.uuid4()))
        failures |= _run(defs, left, run_ids[-1], tags, config)
    return failures


def _run(
    defs: dg.Definitions,
    tables: Collection[str],
    run_id: str,
    tags: Mapping[str, str],
    config: Mapping[str, bool],
) -> dict[str, str]:
    """Run the job once, and return the message of each step that failed.

    As `JobDefinition.execute_in_process`, whose runs belong to no code location, so that neither
    the job's page nor the timeline would show them.
    """
    job = defs.resolve_job_def(daily_refresh.name).as_ephemeral_job({}, {})
    with _instance() as instance:
        run = instance.create_run_for_job(
            job,
            run_id=run_id,
            tags={**job.run_tags, **tags},
            asset_selection=frozenset(asset_keys(tables)),
            run_config={
                "loggers": {"console": {"config": {"log_level": "CRITICAL"}}},
                "resources": {"postgres": {"config": dict(config)}},
            },
            remote_job_origin=origin_of_command(instance),
        )
        events = list(execute_run_iterator(InMemoryJob(job), run, instance))
        if _is_interrupted(events):
            # To Dagster it has failed; only a run that is canceled is a person's doing.
            instance.report_run_canceled(run, "it was interrupted at the terminal")
            raise KeyboardInterrupt
    failures = [event for event in events if event.is_step_failure]
    messages = {event.step_key or "": _message(event.step_failure_data.error) for event in failures}
    is_good = any(event.event_type is dg.DagsterEventType.RUN_SUCCESS for event in events)
    return messages if messages or is_good else {"run": _why_no_step_began(events)}


def _why_no_step_began(events: Sequence[dg.DagsterEvent]) -> str:
    """Say why a run ended before its first step; a configuration is not shown, nor its values."""
    for event in events:
        error = event.job_failure_data.error if event.event_type is FAILED else None
        if error and (unset := with_remedy_of_unset(error.to_string())):
            return unset
    return "it failed before its first step; see its page in the Dagster UI, and dagster.yaml"


def _is_interrupted(events: Sequence[dg.DagsterEvent]) -> bool:
    ended = [event for event in events if event.event_type is FAILED]
    reasons = {event.job_failure_data.failure_reason for event in ended}
    return RunFailureReason.UNEXPECTED_TERMINATION in reasons


def _message(error: SerializableErrorInfo | None) -> str:
    """Return the message of the error that caused the others."""
    while error and error.cause:
        error = error.cause
    if error is None:
        return "no word of why"
    # Dagster puts the name of the class before it.
    return error.message.strip().rpartition(f"{error.cls_name}: ")[2]


def _instance() -> AbstractContextManager[dg.DagsterInstance]:
    if has_home():
        return open_instance()
    return dg.DagsterInstance.ephemeral()
