"""Record in `sqp.refresh_data_quality` what was measured of the data that a run loaded."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from psycopg.types.json import Jsonb

from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

_RECORD = in_schema("""
INSERT INTO sqp.refresh_data_quality (
    audit_log_id, metric_name, metric_value, expected_value, threshold_min, threshold_max,
    is_within_threshold
)
SELECT %(audit_log_id)s, metric.*
FROM jsonb_to_recordset(%(metrics)s) AS metric (
    metric_name text, metric_value numeric, expected_value numeric, threshold_min numeric,
    threshold_max numeric, is_within_threshold boolean
)
""")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One metric of one run, by the columns of the table; null is not known, or not expected."""

    metric_name: str
    metric_value: float | int | None
    expected_value: float | int | None
    threshold_min: float | None
    threshold_max: float | None
    is_within_threshold: bool | None


def record(session: Session, audit_id: int, metrics: Iterable[Recorded]) -> None:
    """Enter the metrics of a run, which has the number `audit_id` in sqp.refresh_audit_log."""
    rows = Jsonb([asdict(metric) for metric in metrics])
    session.execute(_RECORD, {"audit_log_id": audit_id, "metrics": rows})
