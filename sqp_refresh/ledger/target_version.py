"""Read what a table holds of a period, in short: how many rows, and a hash of where they lie.

Any write changes a row's ctid or xmin, so that a sum over hashes of them tells whether anybody has
written to the period since; to read these takes a twentieth of the time that the values would. A
column that was dropped and added again changes no row, so the columns are hashed, too.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from psycopg import sql

from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.period_sql import (
    REQUESTED,
    REQUESTED_DAYS,
    between_days,
    requested_params,
    target_name,
)
from sqp_refresh.postgres.session import Session

TUPLE_HASH = sql.SQL("hash_record_extended(ROW(tableoid, ctid, xmin), 0)")
"""The hash of one row's tuple id, a number of 64 bits."""

# Hashes are added, not combined by XOR, under which two equal ones would cancel out.
_SUM = sql.SQL("coalesce(sum({hash}), 0)::numeric")
_COLUMNS_HASH = sql.SQL("""
(
    SELECT md5(string_agg(concat_ws(' ', attnum, attname), ',' ORDER BY attnum))
    FROM pg_attribute
    WHERE attrelid = {table}::regclass AND attnum > 0 AND NOT attisdropped
)
""")
_VERSIONS = sql.SQL("""
SELECT __sqp_requested.first, __sqp_requested.last, version.*
FROM {requested}
CROSS JOIN LATERAL (
    SELECT count(*), {tuple_hash}, {columns_hash} FROM {table} WHERE {in_period}
) AS version
""")


@dataclass(frozen=True, slots=True)
class TargetVersion:
    """The rows that a table holds of a period.

    Attributes:
        rows: How many there are (count).
        tuple_hash: The sum over the hashes of their tuple ids (tableoid, ctid, xmin).
        columns_hash: A hash of the table's columns.
    """

    rows: int
    tuple_hash: int
    columns_hash: str

    def after_writing(self, inserted: int, hash_change: int) -> "TargetVersion":
        """Return the version once nothing was written but this.

        Args:
            inserted: Rows more than now (count).
            hash_change: The hashes of the tuples that were written, less those that they replaced.
        """
        return TargetVersion(self.rows + inserted, self.tuple_hash + hash_change, self.columns_hash)

    def to_text(self) -> str:
        """Return both hashes, as the ledger keeps them in one column beside the rows."""
        return f"{self.tuple_hash} {self.columns_hash}"

    @classmethod
    def from_text(cls, rows: int, hashes: str) -> Self:
        """Read what `to_text` made; anything else is the version of no period."""
        tuple_hash, _, columns_hash = hashes.partition(" ")
        is_ours = tuple_hash.lstrip("-").isdecimal()
        return cls(rows, int(tuple_hash) if is_ours else 0, columns_hash if is_ours else hashes)


def target_versions(
    session: Session, table: Table, periods: Iterable[Period]
) -> dict[Period, TargetVersion]:
    """Read what the table holds of each of these periods now."""
    params = requested_params(periods)
    if not params["first_days"]:
        return {}
    query = _VERSIONS.format(
        requested=REQUESTED,
        tuple_hash=sum_of_hashes(),
        columns_hash=columns_hash(table),
        table=target_name(table),
        in_period=between_days(table, *REQUESTED_DAYS),
    )
    return {
        Period(first, last): TargetVersion(rows, int(tuple_hash), columns)
        for first, last, rows, tuple_hash, columns in session.fetch_all(query, params)
    }


def sum_of_hashes(hash_: sql.Composable = TUPLE_HASH) -> sql.Composed:
    """Return the aggregate that adds up hashes of rows, or sums of them."""
    return _SUM.format(hash=hash_)


def columns_hash(table: Table) -> sql.Composed:
    """Return the hash of a table's columns, as a subquery."""
    return _COLUMNS_HASH.format(table=sql.Literal(target_name(table).as_string(None)))
