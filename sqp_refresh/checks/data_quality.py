"""`sqp.refresh_data_quality`: what was measured of the data that a run published."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields

from psycopg import sql

from sqp_refresh.postgres.session import Session

_RECORD = sql.SQL("INSERT INTO sqp.refresh_data_quality (audit_log_id, {columns}) VALUES {rows}")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One metric of one run, by the columns of the table; null is not known, or not asked for."""

    metric_name: str
    metric_value: float | int | None
    expected_value: float | int | None
    threshold_min: float | None
    threshold_max: float | None
    is_within_threshold: bool | None


def record(session: Session, audit_id: int, metrics: Iterable[Recorded]) -> None:
    """Enter metrics of a run."""
    rows = [
        sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, (audit_id, *astuple(metric)))))
        for metric in metrics
    ]
    if rows:
        columns = sql.SQL(", ").join(sql.Identifier(field.name) for field in fields(Recorded))
        session.run(_RECORD.format(columns=columns, rows=sql.SQL(", ").join(rows)))
