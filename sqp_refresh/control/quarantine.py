"""`sqp.refresh_quarantine`: the rows that broke their contract, kept as the source sent them.

A week that is published again settles the rows of it that waited: each is good by now, or gone from
the source, or refused once more and then waits anew. None is ever deleted.
"""

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg import sql

from sqp_refresh.errors import SettingsError
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session

# Characters of one INSERT; a raw row is one or two kB, and may be as large as BigQuery lets it.
_AT_ONCE = 2**20

_SETTLE = sql.SQL("""
UPDATE sqp.refresh_quarantine SET replayed_at = now()
WHERE table_name = {table} AND period_start = {first} AND replayed_at IS NULL
""")
_KEEP = sql.SQL("""
INSERT INTO sqp.refresh_quarantine (audit_log_id, table_name, period_start, raw_row, reasons)
SELECT {audit_id}, {table}, {first}, bad->'row',
    ARRAY(SELECT jsonb_array_elements_text(bad->'reasons'))
FROM jsonb_array_elements({rows}::jsonb) AS bad
""")
_GROUPS = sql.SQL("""
SELECT table_name, period_start, reason, count(*), min(id)
FROM sqp.refresh_quarantine CROSS JOIN unnest(reasons) AS reason
WHERE replayed_at IS NULL AND table_name = ANY({})
GROUP BY table_name, period_start, reason
ORDER BY table_name, period_start, count(*) DESC, reason
""")
_WAITING = sql.SQL("""
SELECT table_name, period_start, count(*) FROM sqp.refresh_quarantine
WHERE replayed_at IS NULL AND table_name = ANY({}) AND period_start IS NOT NULL
GROUP BY table_name, period_start ORDER BY table_name, period_start
""")
_ROW = sql.SQL("""
SELECT id, table_name, period_start, audit_log_id, created_at, replayed_at,
    to_json(reasons)::text, raw_row::text
FROM sqp.refresh_quarantine WHERE id = {}
""")


@dataclass(frozen=True, slots=True)
class Group:
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
class Quarantined:
    """One row in quarantine.

    Attributes:
        id: Its number.
        table: The table that it did not reach.
        week: First day of its week; None where an earlier release did not note it.
        audit_log_id: The run that refused it.
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
    reasons: tuple[str, ...]
    row: dict[str, Any]


def settle(session: Session, table: Table, period: Period) -> None:
    """Mark the rows of a week that wait as judged again, in the transaction that publishes it."""
    session.run(_SETTLE.format(table=sql.Literal(table.name), first=sql.Literal(period.start)))


def keep(
    session: Session,
    table: Table,
    period: Period,
    refused: Sequence[tuple[dict[str, Any], list[str]]],
    *,
    audit_id: int,
) -> None:
    """Put rows into quarantine, in the transaction that publishes the good ones of their week.

    Args:
        session: A session in a transaction.
        table: The table that they do not reach.
        period: Their week.
        refused: Each row's values by title, as JSON can hold them, and what is wrong with it.
        audit_id: The run that refuses them.
    """
    for rows in _together(refused):
        session.run(
            _KEEP.format(
                audit_id=sql.Literal(audit_id),
                table=sql.Literal(table.name),
                first=sql.Literal(period.start),
                rows=sql.Literal(f"[{','.join(rows)}]"),
            )
        )


def _together(refused: Sequence[tuple[dict[str, Any], list[str]]]) -> Iterator[list[str]]:
    rows: list[str] = []
    size = 0
    for raw, reasons in refused:
        rows.append(json.dumps({"row": raw, "reasons": reasons}))
        size += len(rows[-1])
        if size > _AT_ONCE:
            yield rows
            rows, size = [], 0
    if rows:
        yield rows


def groups(session: Session, tables: Collection[str]) -> list[Group]:
    """The rows of these tables that wait, counted by table, week and what is wrong."""
    wanted = sql.SQL("{}::text[]").format(sql.Literal(list(tables)))
    return [Group(*group) for group in session.rows(_GROUPS.format(wanted))]


def waiting(session: Session, tables: Collection[str]) -> dict[tuple[str, date], int]:
    """How many rows wait, of each table and week that has some."""
    wanted = sql.SQL("{}::text[]").format(sql.Literal(list(tables)))
    return {(table, week): rows for table, week, rows in session.rows(_WAITING.format(wanted))}


def row(session: Session, number: int) -> Quarantined:
    """One row, whether it waits or not.

    Raises:
        SettingsError: there is none of that number.
    """
    for found in session.rows(_ROW.format(sql.Literal(number))):
        *known, reasons, raw = found
        return Quarantined(*known, reasons=tuple(json.loads(reasons)), row=json.loads(raw))
    raise SettingsError(f"there is no row {number} in {SCHEMA}.refresh_quarantine")
