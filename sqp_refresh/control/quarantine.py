"""Keep the rows that broke their contract in `sqp.refresh_quarantine`, as the source sent them.

When a week is published again, the rows of it that wait are settled: each is good by now, or gone
from the source, or invalid once more and then waits anew.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.periods import ALL_TIME, Grain, Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.period_sql import requested_params
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

# Characters of JSON in one INSERT. A raw row is one or two kB, and may be as large as BigQuery
# lets it.
_BATCH_CHARS = 2**20

_SETTLE = in_schema("""
UPDATE sqp.refresh_quarantine SET replayed_at = now()
WHERE table_name = %(table)s AND period_start = %(period_start)s AND replayed_at IS NULL
""")
_INSERT = in_schema("""
INSERT INTO sqp.refresh_quarantine (audit_log_id, table_name, period_start, raw_row, reasons)
SELECT %(audit_log_id)s, %(table)s, %(period_start)s, invalid->'row',
    ARRAY(SELECT jsonb_array_elements_text(invalid->'reasons'))
FROM jsonb_array_elements(%(rows)s::jsonb) AS invalid
""")
_COUNT_BY_REASON = in_schema("""
SELECT table_name AS table, period_start AS week, reason, count(*) AS rows, min(id) AS example
FROM sqp.refresh_quarantine CROSS JOIN unnest(reasons) AS reason
WHERE replayed_at IS NULL AND table_name = ANY(%(tables)s)
GROUP BY table_name, period_start, reason
ORDER BY table_name, period_start, count(*) DESC, reason
""")
_COUNT_WAITING = in_schema("""
SELECT table_name, period_start, count(*) FROM sqp.refresh_quarantine
WHERE replayed_at IS NULL AND table_name = ANY(%(tables)s) AND period_start IS NOT NULL
GROUP BY table_name, period_start ORDER BY table_name, period_start
""")
_READ_WAITING = in_schema("""
SELECT period_start AS week, raw_row AS row, reasons, NOT EXISTS (
        SELECT FROM sqp.refresh_quarantine AS before
        WHERE before.table_name = waiting.table_name AND before.period_start = waiting.period_start
            AND before.raw_row = waiting.raw_row AND before.audit_log_id < waiting.audit_log_id
    ) AS is_new
FROM unnest(%(first_days)s::date[], %(last_days)s::date[]) AS requested (first, last)
JOIN sqp.refresh_quarantine AS waiting ON period_start BETWEEN requested.first AND requested.last
WHERE table_name = %(table)s AND replayed_at IS NULL
ORDER BY id
""")
_ROW = in_schema("""
SELECT id, table_name AS table, period_start AS week, audit_log_id, created_at, replayed_at,
    reasons, raw_row AS row
FROM sqp.refresh_quarantine WHERE id = %(id)s
""")


@dataclass(frozen=True, slots=True)
class ReasonCount:
    """Rows of one table and week with the same thing wrong; a row may have several things wrong.

    Attributes:
        table: The table that they did not reach.
        week: First day of their week.
        reason: The rule that they break.
        rows: How many there are.
        example: Number of one of them.
    """

    table: str
    week: date | None
    reason: str
    rows: int
    example: int


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """One row in quarantine.

    Attributes:
        id: Its number.
        table: The table that it did not reach.
        week: First day of its week; None where an earlier release did not note it.
        audit_log_id: The run that found it invalid.
        created_at: When that was.
        replayed_at: When its week was read and judged again; None while it waits.
        reasons: Every rule that it breaks.
        row: Its values as the source sent them, by column title.
    """

    id: int
    table: str
    week: date | None
    audit_log_id: int
    created_at: datetime
    replayed_at: datetime | None
    reasons: list[str]
    row: dict[str, Any]


@dataclass(frozen=True, slots=True)
class WaitingRow:
    """One row that waits.

    Attributes:
        week: First day of its week.
        row: Its values as the source sent them, by column title.
        reasons: Every rule that it breaks.
        is_new: Whether no run before the latest that read its week has found it.
    """

    week: date
    row: dict[str, Any]
    reasons: list[str]
    is_new: bool


def settle(session: Session, table: Table, period: Period) -> None:
    """Mark the rows of a week that wait as judged again, in the transaction that publishes it."""
    session.execute(_SETTLE, {"table": table.name, "period_start": period.start})


def settle_other_grains(session: Session, table: Table) -> None:
    """Mark rows as judged again that wait for a period of a grain that the table had before."""
    is_whole = table.grain is Grain.TABLE
    for _, first_day in count_waiting(session, [table.name]):
        if (first_day == ALL_TIME.start) is not is_whole:
            session.execute(_SETTLE, {"table": table.name, "period_start": first_day})


def add(
    session: Session,
    table: Table,
    period: Period,
    invalid: Sequence[tuple[dict[str, Any], list[str]]],
    *,
    audit_log_id: int,
) -> None:
    """Put rows into quarantine, in the transaction that publishes the good ones of their week.

    Args:
        session: A session in a transaction.
        table: The table that they do not reach.
        period: Their week.
        invalid: Each row's values by title, as JSON can hold them, and what is wrong with it.
        audit_log_id: The run that found them invalid.
    """
    names = {"audit_log_id": audit_log_id, "table": table.name, "period_start": period.start}
    for batch in _batches(invalid):
        session.execute(_INSERT, names | {"rows": f"[{','.join(batch)}]"})


def _batches(invalid: Sequence[tuple[dict[str, Any], list[str]]]) -> Iterator[list[str]]:
    """Yield the rows as JSON, as many at once as one INSERT is to hold."""
    batch: list[str] = []
    chars = 0
    for row, reasons in invalid:
        batch.append(json.dumps({"row": row, "reasons": reasons}))
        chars += len(batch[-1])
        if chars > _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def count_by_reason(session: Session, tables: Collection[str]) -> list[ReasonCount]:
    """Count the rows of these tables that wait, by table, week and what is wrong."""
    params = {"tables": list(tables)}
    return session.fetch_all(_COUNT_BY_REASON, params, row_factory=class_row(ReasonCount))


def count_waiting(session: Session, tables: Collection[str]) -> dict[tuple[str, date], int]:
    """Count the rows that wait, of each table and week that has some."""
    counts = session.fetch_all(_COUNT_WAITING, {"tables": list(tables)})
    return {(table, week): rows for table, week, rows in counts}


def read_waiting(session: Session, table: Table, periods: Iterable[Period]) -> list[WaitingRow]:
    """Read the rows of a table's periods that wait."""
    params = {"table": table.name, **requested_params(periods)}
    return session.fetch_all(_READ_WAITING, params, row_factory=class_row(WaitingRow))


def read_row(session: Session, number: int) -> QuarantinedRow:
    """Read one row, whether it waits or not.

    Raises:
        SettingsError: there is none of that number.
    """
    for row in session.fetch_all(_ROW, {"id": number}, row_factory=class_row(QuarantinedRow)):
        return row
    raise SettingsError(f"there is no row {number} in {SCHEMA}.refresh_quarantine")
