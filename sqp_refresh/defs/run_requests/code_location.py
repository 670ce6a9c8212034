"""Tell the runs of this code location from others: agencies may share a Dagster instance."""

import dagster as dg

from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.schema_name import SCHEMA

_RECENT = 100
"""Runs among which those of our own code location are looked for."""


def location_of(context: dg.SensorEvaluationContext) -> str | None:
    """Return the name of a sensor's code location; None where there is no other."""
    return context.code_location_origin and context.code_location_origin.location_name


def is_of(location: str | None, run: dg.DagsterRun) -> bool:
    """Return whether a run is a code location's.

    One that a command did itself has none. It is the location's whose schema it refreshed.
    """
    origin = run.remote_job_origin
    if origin is None:
        return not run.asset_selection or any(_is_ours(key) for key in run.asset_selection)
    return location is None or origin.location_name == location


def locations_of_schema(instance: dg.DagsterInstance) -> set[str]:
    """Return the names of the code locations whose recent runs refreshed tables of our schema."""
    runs = instance.get_runs(dg.RunsFilter(job_name="daily_refresh"), limit=_RECENT)
    return {
        run.remote_job_origin.location_name
        for run in runs
        if run.remote_job_origin and any(_is_ours(key) for key in run.asset_selection or ())
    }


def tables_of(catalog: Catalog, run: dg.DagsterRun) -> set[str]:
    """Return the tables that a run was launched for: none, where it is of another job."""
    if run.asset_selection:
        paths = [key.path for key in run.asset_selection if _is_ours(key)]
        return {path[-1] for path in paths if path[-1] in catalog.tables}
    return set(catalog.tables) if run.job_name == daily_refresh.name else set()


def _is_ours(key: dg.AssetKey) -> bool:
    return key.path[0] == SCHEMA
