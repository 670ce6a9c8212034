"""Tell the runs of this code location from others: agencies may share a Dagster instance."""

import dagster as dg

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


def _is_ours(key: dg.AssetKey) -> bool:
    return key.path[0] == SCHEMA
