"""Load a period that the target has no row of: COPY its rows straight into the table.

Nothing is staged and nothing compared, so that nothing may be left for Postgres to compute, either.
The rows are encoded ahead, while Postgres takes those before them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sqp_refresh.checks.period_totals import measure_period
from sqp_refresh.errors import DataError
from sqp_refresh.ledger.ledger import Baseline
from sqp_refresh.load.cast import cast_batch, target_schema
from sqp_refresh.load.copy import copy
from sqp_refresh.load.merge_sql import has_rows_query, read_key
from sqp_refresh.load.pgcopy.encoding import encoded
from sqp_refresh.load.result import Counts, LoadResult, NeedsMerge
from sqp_refresh.load.row_hashes import RowHasher
from sqp_refresh.load.target import TargetPeriod, accepts_copy
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.period_sql import period_params
from sqp_refresh.postgres.session import Session


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Rows, and the bytes that each of them is sent as."""

    rows: pa.RecordBatch
    encoded: pa.LargeBinaryArray


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """The rows of a period, encoded as they are read, once.

    Attributes:
        schema: Of the rows as they were read.
        batches: The rows.
    """

    schema: pa.Schema
    batches: Iterable[EncodedBatch]

    def __iter__(self) -> Iterator[EncodedBatch]:
        return iter(self.batches)


def encode_ahead(target: TargetPeriod, rows: pa.RecordBatchReader) -> EncodedRows:
    """Encode rows as COPY takes them, in the types of the target.

    Each batch is put in order by key: neighbours in the table are neighbours in its index then,
    which is less work to enter.

    Raises:
        DataError: a number is too large for its column; as the rows are read.
    """
    schema = target_schema(target.table, rows.schema)
    assert schema is not None, "only rows that Postgres computes nothing of are appended"
    key = read_key(target.table, rows.schema.names)
    options = pc.SortOptions([(name, "ascending") for name in key])

    def encode(batch: pa.RecordBatch) -> EncodedBatch:
        batch = batch.take(pc.call_function("sort_indices", [batch], options))
        return EncodedBatch(batch, encoded(cast_batch(schema, target.period, batch)))

    return EncodedRows(rows.schema, map(encode, rows))


def load(
    session: Session,
    target: TargetPeriod,
    rows: EncodedRows,
    baseline: Baseline | None = None,
) -> LoadResult:
    """COPY rows into the target, which has none of their period.

    Raises:
        NeedsMerge: the target has rows of the period by now, or other types, or something that may
            alter rows, or a key comes twice; nothing may be committed.
        DataError: a value does not fit its column.
    """
    (has_rows,) = session.fetch_one(has_rows_query(target.table), period_params(target.period))
    # What was so when the strategy was chosen may have changed since: COPY compares no types.
    if has_rows or not accepts_copy(session, target.table):
        raise NeedsMerge
    columns = rows.schema.names
    hasher = RowHasher(columns, read_key(target.table, columns))
    name = sql.Identifier(SCHEMA, target.table.name)
    batches = _hashed(rows, hasher)
    try:
        copied = copy(session, name, [column.name for column in target.table.columns], batches)
    except DataError:
        # Where the target's own key has noticed first that a key comes twice, the rest of the rows
        # tells so: NeedsMerge is raised here, instead of the error.
        for _ in batches:
            pass
        raise
    counts = Counts(read=hasher.rows, inserted=copied)
    totals = measure_period(session, target.table, target.period)
    if totals.altered_by or totals.target.rows != copied:
        raise NeedsMerge
    counts.check_nothing_lost()
    return LoadResult(counts, totals, hasher.to_bytes())


def _hashed(rows: EncodedRows, hasher: RowHasher) -> Iterator[pa.LargeBinaryArray]:
    """Return the bytes of rows, as long as no key is known to come twice.

    Keys are looked through whenever the rows have doubled, and once all have been sent.
    """
    for batch in rows:
        # Postgres works on them while they are hashed here.
        yield batch.encoded
        hasher.add(batch.rows)
        if hasher.is_due and not hasher.has_unique_keys:
            raise NeedsMerge
    if not hasher.has_unique_keys:
        raise NeedsMerge
