"""Load a period of which only the source has changed: send the rows that differ from the last ones.

The hash of each row that was read the last time is in the ledger. A row that comes with one of
them is in the target already, unless somebody else has written to the period, which is told by
where its rows lie.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

import pyarrow as pa
from psycopg import sql

from sqp_refresh.ledger.ledger import Baseline
from sqp_refresh.load.copy import STAGING, stage
from sqp_refresh.load.merge_sql import ReadRows, read_key
from sqp_refresh.load.result import Counts, LoadResult, NeedsMerge
from sqp_refresh.load.row_hashes import RowHasher, RowHashes
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.load.upsert import confirm, upsert
from sqp_refresh.postgres.session import Session


@dataclass(slots=True)
class DeltaFilter:
    """Leaves out the rows that the target has already.

    Attributes:
        batches: The rows.
        loaded: The hashes of the rows that the target holds.
        hasher: Hashes the rows as they pass.
        already_loaded: Rows that were left out (count); complete once the rows are read.
    """

    batches: pa.RecordBatchReader
    loaded: RowHashes
    hasher: RowHasher
    already_loaded: int = 0

    def differing(self) -> Iterator[pa.RecordBatch]:
        """Return the rows that the target may not have.

        Raises:
            NeedsMerge: a key comes twice.
        """
        for batch in self.batches:
            is_new = ~self.loaded.contain(self.hasher.add(batch))
            new = batch.filter(is_new.to_arrow())
            self.already_loaded += batch.num_rows - new.num_rows
            if new.num_rows:
                yield new
            if self.hasher.is_due:
                self._require_unique_keys()
        self._require_unique_keys()

    def _require_unique_keys(self) -> None:
        if not self.hasher.has_unique_keys:
            raise NeedsMerge


def load(
    session: Session,
    target: TargetPeriod,
    rows: pa.RecordBatchReader,
    baseline: Baseline | None,
) -> LoadResult:
    """Send the rows that differ; each row that the target has must be met by one that came.

    Raises:
        NeedsMerge: rows have vanished from the source, a key comes twice, somebody else has written
            to the target, or what was kept of its rows cannot be read; nothing may be committed.
    """
    if baseline is None or baseline.row_hashes is None:
        raise NeedsMerge
    columns = tuple(rows.schema.names)
    hasher = RowHasher(columns, read_key(target.table, columns))
    delta = DeltaFilter(rows, RowHashes.from_bytes(baseline.row_hashes), hasher)
    counts, hash_change = Counts(), 0
    differing = delta.differing()
    # Most weeks that are read again have no row that differs, and then nothing is staged.
    first = next(differing, None)
    if first is not None:
        stage(session, first.schema, chain([first], differing))
        counts, hash_change = upsert(session, target, ReadRows(sql.Identifier(STAGING), columns))
    if delta.already_loaded + counts.updated + counts.unchanged != baseline.target.rows:
        raise NeedsMerge
    expected = baseline.target.after_writing(counts.inserted, hash_change)
    totals = confirm(session, target, expected)
    counts = counts.with_unchanged(delta.already_loaded)
    counts.check_nothing_lost()
    return LoadResult(counts, totals, hasher.to_bytes())
