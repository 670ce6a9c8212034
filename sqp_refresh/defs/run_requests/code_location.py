"""Tell the runs of this code location from others: agencies may share a Dagster instance."""

import dagster as dg

from sqp_refresh.defs.dagster_internals import (
    SINGLETON_REPOSITORY_NAME,
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.schema_name import SCHEMA

_RECENT = 100
"""Runs among which those of our own code location are looked for."""

_LATEST = 20
"""Runs that a command looks at, which has no time to lose."""

_NIGHTLY_JOB = "daily_refresh"
_USUAL_LOCATION = "sqp_refresh"
"""What the code location is called wherever this project says so, as in `workspace.yaml`."""


def location_of(context: dg.SensorEvaluationContext) -> str | None:
    """Return the name of a sensor's code location; None where there is no other."""
    return context.code_location_origin and context.code_location_origin.location_name


def is_of(location: str | None, run: dg.DagsterRun) -> bool:
    """Return whether a run is a code location's.

    One that a command did itself is the location's whose schema it refreshed.
    """
    origin = run.remote_job_origin
    if origin is None or is_of_command(run):
        return not run.asset_selection or any(_is_ours(key) for key in run.asset_selection)
    return location is None or origin.location_name == location


def is_of_command(run: dg.DagsterRun) -> bool:
    """Return whether a run was done in the process of a command: Dagster has not launched it."""
    origin = run.remote_job_origin
    return origin is None or isinstance(
        origin.repository_origin.code_location_origin, RegisteredCodeLocationOrigin
    )


def locations_of_schema(instance: dg.DagsterInstance, limit: int = _RECENT) -> list[str]:
    """Return the code locations whose recent runs refreshed tables of our schema, latest first."""
    runs = instance.get_runs(dg.RunsFilter(job_name=_NIGHTLY_JOB), limit=limit)
    names = [
        run.remote_job_origin.location_name
        for run in runs
        if run.remote_job_origin
        and not is_of_command(run)
        and any(_is_ours(key) for key in run.asset_selection or ())
    ]
    return list(dict.fromkeys(names))


def origin_of_command(instance: dg.DagsterInstance) -> RemoteJobOrigin:
    """Return the origin of a run that a command does, so that the UI shows it with its job.

    The code location is the one that last refreshed our schema; before the first of its runs, it is
    assumed to be called as usual.
    """
    name = next(iter(locations_of_schema(instance, _LATEST)), _USUAL_LOCATION)
    location = RegisteredCodeLocationOrigin(name)
    return RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME).get_job_origin(_NIGHTLY_JOB)


def tables_of(catalog: Catalog, run: dg.DagsterRun) -> set[str]:
    """Return the tables that a run was launched for: none, where it is of another job."""
    if run.asset_selection:
        paths = [key.path for key in run.asset_selection if _is_ours(key)]
        return {path[-1] for path in paths if path[-1] in catalog.tables}
    return set(catalog.tables) if run.job_name == _NIGHTLY_JOB else set()


def _is_ours(key: dg.AssetKey) -> bool:
    return key.path[0] == SCHEMA
