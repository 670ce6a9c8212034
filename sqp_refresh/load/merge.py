"""Load a period by comparing all of its rows with all that the target has, writing what differs.

The strategy for whatever no other is sure of: it believes nothing but what it reads.
"""

from collections.abc import Iterator

import pyarrow as pa
from psycopg import sql

from sqp_refresh.checks.period_totals import measure_period
from sqp_refresh.ledger.ledger import Baseline
from sqp_refresh.load.copy import STAGING, stage
from sqp_refresh.load.merge_sql import (
    ReadRows,
    differing_statement,
    has_rows_query,
    insert_statement,
    merge_statement,
    ranked,
    read_key,
)
from sqp_refresh.load.result import Counts, LoadResult, NeedsMerge
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.rows import SqlRows
from sqp_refresh.postgres.session import Session


def load(
    session: Session,
    target: TargetPeriod,
    rows: pa.RecordBatchReader | SqlRows,
    baseline: Baseline | None = None,
) -> LoadResult:
    """Make the target's rows of the period equal to those that come.

    A period that comes without a row deletes nothing.

    Raises:
        NeedsMerge: the table has other rows than those that were compared.
        DataError: a value does not fit its column, or rows would be lost.
        SchemaMismatch: a column has no exact equal in Postgres.
    """
    if isinstance(rows, SqlRows):
        read, row_hashes = ReadRows(sql.Identifier("read"), rows.columns, rows.select), None
    else:
        read, row_hashes = _staged(session, target, rows)
    params = target.params
    (has_rows,) = session.fetch_one(has_rows_query(target.table), params)
    compose = merge_statement if has_rows else insert_statement
    statement = compose(target.table, read, is_recorded=target.is_recorded)
    *numbers, deleted = session.fetch_one(statement, params)
    counts = Counts(*numbers)
    totals = measure_period(session, target.table, target.period)
    counts.check_nothing_lost()
    vanished = tuple(map(tuple, deleted))
    if not totals.altered_by:
        # The table may be put together from others, of which one was added just now.
        if totals.target.rows != counts.landed + counts.retained:
            raise NeedsMerge
        return LoadResult(counts, totals, row_hashes, vanished)
    # What a deferred trigger does, it does now, and what it leaves is what is compared.
    session.execute("SET CONSTRAINTS ALL IMMEDIATE")
    altered = sum(session.fetch_one(differing_statement(target.table, read), params))
    totals = measure_period(session, target.table, target.period)
    return LoadResult(counts, totals, row_hashes, vanished, altered)


def _staged(
    session: Session, target: TargetPeriod, rows: pa.RecordBatchReader
) -> tuple[ReadRows, bytes | None]:
    """Send all rows into staging; returns where they are, and their hashes."""
    # Polars takes a while to import, and only rows need it.
    from sqp_refresh.load.row_hashes import RowHasher

    columns = tuple(rows.schema.names)
    hasher = RowHasher(columns, read_key(target.table, columns))

    def hashed() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            # Postgres works on them while they are hashed here.
            yield batch
            hasher.add(batch)

    stage(session, rows.schema, hashed())
    read = ReadRows(sql.Identifier(STAGING), columns)
    # Ranking the rows of each key takes longer than all the rest, and hardly a week needs it.
    if not hasher.has_unique_keys:
        read = ranked(target.table, read)
    return read, hasher.to_bytes()
