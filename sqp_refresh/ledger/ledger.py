"""Keep the ledger `sqp.refresh_periods`: what each period was made from when it was last loaded.

A period is loaded again when what it is made from has changed, or when its rows in the table are no
longer those that were loaded. What a derived table is made from is the ledger of its parents.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from sqp_refresh import __version__
from sqp_refresh.ledger.target_version import TargetVersion
from sqp_refresh.model.contract import contract_of
from sqp_refresh.model.periods import Period, is_of_grain
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.versions import Version, version_from_json
from sqp_refresh.postgres.period_sql import period_params, requested_params
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

_ENTRIES = in_schema("""
SELECT period_start, period_end, source_state, definition_hash, needs_reload, target_state,
    row_count, row_fingerprints IS NOT NULL AS has_row_hashes, failed_metrics, published_at,
    stale_since IS NOT NULL AS is_known_stale
FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND table_name = %(table)s
    AND period_start BETWEEN %(first)s AND %(last)s
""")
_RECORD = in_schema("""
INSERT INTO sqp.refresh_periods AS entry (
    table_schema, table_name, period_start, period_end, source_state, definition_hash,
    needs_reload, target_state, row_count, row_fingerprints, changed_by, published_by, published_at,
    proof_sha256
)
VALUES (%(schema)s, %(table)s, %(period_start)s, %(period_end)s, %(version)s, %(definition_hash)s,
    false, %(target)s, %(rows)s, %(row_hashes)s, %(audit_log_id)s, %(audit_log_id)s, now(),
    %(proof)s)
ON CONFLICT (table_schema, table_name, period_start) DO UPDATE
SET period_end = excluded.period_end, source_state = excluded.source_state,
    definition_hash = excluded.definition_hash, needs_reload = false, stale_since = NULL,
    failed_metrics = CASE WHEN excluded.source_state IS NULL THEN entry.failed_metrics
        ELSE array(SELECT unnest(entry.failed_metrics) EXCEPT SELECT unnest(%(judged)s::text[]))
        END,
    target_state = excluded.target_state, row_count = excluded.row_count,
    row_fingerprints = CASE WHEN %(keeps_hashes)s THEN entry.row_fingerprints
        ELSE excluded.row_fingerprints END,
    changed_by = CASE WHEN %(is_changed)s THEN excluded.changed_by ELSE entry.changed_by END,
    published_by = excluded.published_by, published_at = excluded.published_at,
    proof_sha256 = coalesce(excluded.proof_sha256, entry.proof_sha256)
""")
_NEWEST = in_schema("""
SELECT max(period_start) FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND table_name = %(table)s
""")
_PERIODS = in_schema("""
SELECT period_start, period_end FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND table_name = %(table)s
ORDER BY period_start
""")
_DROP = in_schema("""
DELETE FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND table_name = %(table)s AND (period_start, period_end) IN (
    SELECT * FROM unnest(%(first_days)s::date[], %(last_days)s::date[])
)
""")
_ROW_COUNTS = in_schema("""
SELECT period_start, period_end, row_count FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND table_name = %(table)s AND row_count > 0
ORDER BY period_start
""")
_BASELINE = in_schema("""
SELECT row_count, target_state, row_fingerprints FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND table_name = %(table)s
    AND period_start = %(period_start)s AND period_end = %(period_end)s
""")
_REQUIRE_RELOAD = in_schema("""
UPDATE sqp.refresh_periods SET needs_reload = true, failed_metrics = array(
    SELECT unnest(failed_metrics) UNION SELECT unnest(%(metrics)s::text[])
)
WHERE table_schema = %(schema)s AND table_name = %(table)s AND (period_start, period_end) IN (
    SELECT * FROM unnest(%(first_days)s::date[], %(last_days)s::date[])
)
""")


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A period as it was last loaded.

    Attributes:
        version: What it was made from; None where it came empty and its rows were kept.
        definition_hash: A hash of how it was made.
        needs_reload: Whether it did not equal its source, so that it must be made again.
        target: What the table held of it then.
        has_row_hashes: Whether a hash of each of its rows is kept.
        failed_metrics: The metrics that failed when it was last judged by them.
        published_at: When it was loaded.
        is_known_stale: Whether the source was seen to hold something else since.
    """

    version: Version | None
    definition_hash: str | None
    needs_reload: bool
    target: TargetVersion
    has_row_hashes: bool = False
    failed_metrics: frozenset[str] = frozenset()
    published_at: datetime | None = field(default=None, compare=False)
    is_known_stale: bool = False


@dataclass(frozen=True, slots=True)
class Baseline:
    """The rows that a table held of a period when it was last loaded.

    Whether it still holds them has to be confirmed by whoever builds on it.

    Attributes:
        target: How many they were, and where they lay.
        row_hashes: A hash of each as it was read; None where none is kept.
    """

    target: TargetVersion
    row_hashes: bytes | None = None


def definition_hash(table: Table) -> str:
    """Hash how a table is made: the release, its columns, what is computed, the row contract."""
    definition = [
        __version__,
        [(column.name, column.type) for column in table.columns],
        table.ratios,
        table.medians,
        table.sums,
        table.counts,
        sorted(table.kept_when_null),
        [rule.sql for rule in contract_of(table.source)] if table.source else [],
    ]
    return hash_json(definition)


def hash_json(value: object) -> str:
    """Hash a value that JSON has."""
    return hashlib.md5(json.dumps(value).encode(), usedforsecurity=False).hexdigest()


def read_entries(
    session: Session, table: Table, periods: Sequence[Period]
) -> dict[Period, LedgerEntry]:
    """Read how each of these periods was last loaded, where it was."""
    if not periods:
        return {}
    days = {"first": min(periods).start, "last": max(periods).start}
    rows = session.fetch_all(_ENTRIES, _name(table) | days, row_factory=dict_row)
    return {Period(row["period_start"], row["period_end"]): _entry(table, row) for row in rows}


def _entry(table: Table, row: dict[str, Any]) -> LedgerEntry:
    version = row["source_state"]
    return LedgerEntry(
        version=None if version is None else version_from_json(table, version),
        definition_hash=row["definition_hash"],
        needs_reload=row["needs_reload"],
        target=TargetVersion.from_text(row["row_count"], row["target_state"]),
        has_row_hashes=row["has_row_hashes"],
        failed_metrics=frozenset(row["failed_metrics"]),
        published_at=row["published_at"],
        is_known_stale=row["is_known_stale"],
    )


def read_baseline(session: Session, table: Table, period: Period) -> Baseline | None:
    """Read what a table was left with when a period was loaded; None where it never was."""
    params = _name(table) | period_params(period)
    for rows, target, row_hashes in session.fetch_all(_BASELINE, params):
        return Baseline(TargetVersion.from_text(rows, target), row_hashes)
    return None


def record(
    session: Session,
    table: Table,
    period: Period,
    version: Version | None,
    *,
    target: TargetVersion,
    audit_log_id: int,
    is_changed: bool,
    row_hashes: bytes | None = None,
    baseline: Baseline | None = None,
    judged: Iterable[str] = (),
    proof_sha256: str | None = None,
) -> None:
    """Enter a period as loaded, in the transaction that loads it.

    Args:
        session: The session whose transaction loads the period.
        table: The table.
        period: The period just loaded.
        version: What it was made from; None has it made again by the next refresh.
        target: What the table holds of it now.
        audit_log_id: The run that loaded it.
        is_changed: Whether that changed a row.
        row_hashes: A hash of each of its rows; None where they would not tell the rows apart.
        baseline: What the ledger has of it so far; None where that was not looked up.
        judged: Names of the metrics that the transaction compares with the source; what a period
            without rows in the source failed in is kept.
        proof_sha256: The hash of its certificate; None where there is no new one.
    """
    # They are large, so that those which are kept already are not written once more.
    keeps_hashes = baseline is not None and baseline.row_hashes == row_hashes
    params = {
        "version": None if version is None else Jsonb(version.to_json()),
        "definition_hash": definition_hash(table),
        "target": target.to_text(),
        "rows": target.rows,
        "row_hashes": None if keeps_hashes else row_hashes,
        "keeps_hashes": keeps_hashes,
        "audit_log_id": audit_log_id,
        "is_changed": is_changed,
        "judged": list(judged),
        "proof": proof_sha256,
    }
    session.execute(_RECORD, _name(table) | period_params(period) | params)


def published_periods(session: Session, table: Table) -> list[Period]:
    """List the periods of a table that were ever loaded, those without rows among them."""
    return [period for period in _periods(session, table) if is_of_grain(period, table.grain)]


def row_counts(session: Session, table: Table) -> dict[Period, int]:
    """Read how many rows every period has that has some, in order of time.

    A period of another grain, which the table had before, is none of its periods any more.
    """
    rows_by_period = {
        Period(first, last): rows
        for first, last, rows in session.fetch_all(_ROW_COUNTS, _name(table))
    }
    return {
        period: rows for period, rows in rows_by_period.items() if is_of_grain(period, table.grain)
    }


def require_reload(
    session: Session, table: Table, periods: Iterable[Period], metrics: Iterable[str]
) -> None:
    """Have the next refresh load these periods again: they do not hold what their source says.

    Args:
        session: A session in a transaction.
        table: The table.
        periods: The periods.
        metrics: Names of the metrics by which they differ.
    """
    params = _name(table) | requested_params(periods) | {"metrics": sorted(set(metrics))}
    session.execute(_REQUIRE_RELOAD, params)


def newest_period(session: Session, table: Table) -> date | None:
    """Read the first day of the newest period that was ever loaded; None where none was."""
    (first_day,) = session.fetch_one(_NEWEST, _name(table))
    return first_day


def drop_other_grains(session: Session, table: Table) -> None:
    """Forget the periods of a grain that the table had before, e.g. while it was loaded whole.

    Its rows are those of its periods of today, so that what the ledger has of others says nothing.

    Args:
        session: The session whose transaction loads the first of today's periods.
        table: The table.
    """
    others = [period for period in _periods(session, table) if not is_of_grain(period, table.grain)]
    if others:
        session.execute(_DROP, _name(table) | requested_params(others))


def _periods(session: Session, table: Table) -> list[Period]:
    return [Period(first, last) for first, last in session.fetch_all(_PERIODS, _name(table))]


def _name(table: Table) -> dict[str, Any]:
    return {"schema": SCHEMA, "table": table.name}
