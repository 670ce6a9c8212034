"""Write the control rows of nights without their refreshes: quick, and in any shape."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
from psycopg import sql

from sqp_refresh.model.periods import Period, periods_touched, weeks_between
from sqp_refresh.model.tables import TABLES

AT = datetime.now(UTC)
"""The instant that the figures of these nights are as of; the views look back from today."""

HOSTILE = "\"><img src=x onerror='hacked=1'><script>hacked=1</script>"
"""Text that takes over a page which does not escape it."""

DAY = timedelta(days=1)
Metrics = Mapping[str, tuple[float, float, bool]]
"""By name: value, the most that it may be, and the verdict."""


class History:
    """The control tables of one database, filled row by row."""

    def __init__(self, connection: psycopg.Connection):
        self.connection = connection

    def run(
        self,
        table: str,
        started: datetime,
        status: str = "success",
        *,
        seconds: float = 10.0,
        counts: tuple[int, int, int, int] = (0, 0, 0, 0),
        message: str | None = None,
        metrics: Metrics | None = None,
    ) -> int:
        """Add one refresh; `counts` are rows processed, inserted, updated and deleted."""
        is_over = status != "running"
        numbers = (round(1000 * seconds), *counts) if is_over else (None,) * 5
        cursor = self.connection.execute(
            "INSERT INTO sqp.refresh_audit_log (table_name, refresh_started_at,"
            " refresh_completed_at, status, error_message, sync_metadata, execution_time_ms,"
            " rows_processed, rows_inserted, rows_updated, rows_deleted)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING id",
            (
                *(table, started, started + timedelta(seconds=seconds) if is_over else None),
                *(status, message, json.dumps({"run_id": f"night of {started:%F}"}), *numbers),
            ),
        )
        ((audit_id,),) = cursor.fetchall()
        self.judge(audit_id, metrics or {})
        return audit_id

    def judge(self, audit_id: int, metrics: Metrics) -> None:
        """Add the metrics of a refresh, again if it has some already."""
        for name, (value, most, ok) in metrics.items():
            self.connection.execute(
                "INSERT INTO sqp.refresh_data_quality (audit_log_id, metric_name, metric_value,"
                " threshold_max, is_within_threshold) VALUES (%s, %s, %s, %s, %s)",
                (audit_id, name, value, most, ok),
            )

    def holds(self, table: str, last: date, rows: int) -> None:
        """Let a table have as many rows of every period of a year, up to the one of a day."""
        weeks = list(weeks_between(last - timedelta(weeks=51), last))
        for period in periods_touched(weeks, TABLES[table].grain.published):
            self.connection.execute(
                "INSERT INTO sqp.refresh_periods (table_name, period_start, period_end,"
                " source_state, target_state, row_count, changed_by, published_by)"
                " VALUES (%s, %s, %s, '{}', '', %s, 0, 0)",
                (table, period.start, period.end, rows),
            )

    def register(self, table: str, **columns: Any) -> None:
        """Put a table into the registry, enabled and due tomorrow unless the columns differ."""
        row = {"table_name": table, "is_enabled": True, "next_refresh_at": AT + DAY} | columns
        upsert = sql.SQL(
            "INSERT INTO sqp.refresh_config ({columns}) VALUES ({values})"
            " ON CONFLICT (table_schema, table_name) DO UPDATE SET ({columns}) = ROW ({values})"
        )
        values = sql.SQL(", ").join(map(sql.Literal, row.values()))
        names = sql.SQL(", ").join(map(sql.Identifier, row))
        self.connection.execute(upsert.format(columns=names, values=values))

    def nights(self, tables: Sequence[str], count: int, at: datetime = AT) -> None:
        """Add nights as they usually go: data come once a week, and some nights bring trouble."""
        messages = {13: "BigQuery: quota exceeded", 8: "12 rows are in quarantine"}
        last = datetime.combine(at.date(), time(2), UTC)
        last -= DAY if last > at else timedelta()
        for back in reversed(range(count)):
            started = last - back * DAY
            for place, table in enumerate(tables):
                rows = 4_050 if started.isoweekday() == 3 else 0
                age = 3 + (started.isoweekday() - 3) % 7
                status = {13: "failed", 8: "warning"}.get(back, "success")
                self.run(
                    table,
                    started + timedelta(minutes=place),
                    status,
                    seconds=2.5 + rows / 400 + back % 3 + place,
                    counts=(rows, rows - rows // 9, rows // 9, rows // 30),
                    message=messages.get(back),
                    metrics={}
                    if status == "failed"
                    else {
                        "freshness_days": (age, 10, True),
                        "null_ratio": (0.001, 0.01, True),
                        "funnel_violations": (3 * (back == 8), 0, back != 8),
                    },
                )
        for table in tables:
            self.holds(table, Period.week_of((at - 7 * DAY).date()).end, 4_050)
            self.register(table, last_refresh_at=last, next_refresh_at=last + DAY)


@contextmanager
def history(database_url: str) -> Iterator[History]:
    """Fill the control tables of a database; what was filled in is there when the block ends."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield History(connection)
