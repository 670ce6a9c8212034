"""Tell the runs of this code location from others: agencies may share a Dagster instance."""

import dagster as dg


def location_of(context: dg.SensorEvaluationContext) -> str | None:
    """Return the name of a sensor's code location; None where there is no other."""
    return context.code_location_origin and context.code_location_origin.location_name


def is_of(location: str | None, run: dg.DagsterRun) -> bool:
    """Return whether a run is a code location's; one launched outside of any may be each's."""
    origin = run.remote_job_origin
    return location is None or origin is None or origin.location_name == location
