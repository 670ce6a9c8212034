"""Cut one ordered pass over rows into weeks, and into batches of one size."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.extract.sql import WEEK
from sqp_refresh.model.periods import Period


def by_week(
    batches: Iterable[pa.RecordBatch], weeks: Iterable[Period]
) -> Iterator[tuple[Period, Iterator[pa.RecordBatch]]]:
    """Cut batches that are ordered by their `week_start` column into the given weeks, in order.

    A week that is not used up before the next is asked for is passed over. A week without rows
    comes with none; the column itself is dropped.
    """
    pending = _Pending(batches)
    for week in weeks:
        yield week, pending.take(week)


class _Pending:
    """The stream, with the rest of a batch that a week did not use up."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches = iter(batches)
        self._rest: pa.RecordBatch | None = None

    def take(self, week: Period) -> Iterator[pa.RecordBatch]:
        while (batch := self._next()) is not None:
            # Ordered by week, so what is left of a week that was given up comes first, and then the
            # rows of this one; the null week never occurs.
            sundays = batch.column(WEEK)
            passed = pc.call_function("less", [sundays, pa.scalar(week.start)]).true_count
            mine = pc.call_function("equal", [sundays, pa.scalar(week.start)]).true_count
            batch = batch.slice(passed)
            if mine < batch.num_rows:
                self._rest = batch.slice(mine)
            if mine:
                yield batch.slice(0, mine).drop_columns([WEEK])
            if self._rest is not None:
                return

    def _next(self) -> pa.RecordBatch | None:
        batch, self._rest = self._rest, None
        while batch is None or batch.num_rows == 0:
            batch = next(self._batches, None)
            if batch is None:
                return None
        return batch


def in_batches_of(size: int, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Return the same rows in batches of `size`, the last one shorter: blocks come in any size."""
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        held.append(batch)
        rows += batch.num_rows
        while rows >= size:
            joined = pa.concat_batches(held)
            yield joined.slice(0, size)
            held, rows = [joined.slice(size)], rows - size
    if rows:
        yield pa.concat_batches(held)
