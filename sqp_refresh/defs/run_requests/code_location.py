"""Which code location a run and a sensor belong to: agencies may share a Dagster instance."""

import dagster as dg


def location_of(context: dg.SensorEvaluationContext) -> str | None:
    """The code location of a sensor; None where there is no other."""
    return context.code_location_origin and context.code_location_origin.location_name


def is_of(location: str | None, run: dg.DagsterRun) -> bool:
    """Whether a run belongs to a code location; one launched outside of any may belong to each."""
    origin = run.remote_job_origin
    return location is None or origin is None or origin.location_name == location
