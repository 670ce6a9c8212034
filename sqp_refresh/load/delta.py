"""Which of a period's rows the target has already, told by a fingerprint of each.

A fingerprint is 64 bits over all that was read of a row. Those of the rows that a period was made
of are kept beside it when it is published; as long as nobody else touched its rows, a row that
comes with a fingerprint that was kept is in the target as it is, and need not travel there again.
A changed row that meets one of them by chance would be missed: once in 2^64 changes.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Self

import polars as pl
import pyarrow as pa

from sqp_refresh.load.result import NeedsMerge

# Two hashes, so that keys that collide are not rows that do.
_OF_ROW, _OF_KEY = 1, 2
_MOST = 5_000_000


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Of the rows of one period, each once, in ascending order.

    Attributes:
        numbers: One a row, 64 bits.
    """

    numbers: pl.Series

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def from_bytes(cls, kept: bytes) -> Self:
        """As `to_bytes` made them."""
        return cls(pl.read_ipc_stream(io.BytesIO(kept)).to_series())

    def to_bytes(self) -> bytes:
        """To be kept; eight bytes a row."""
        return self.numbers.to_frame("row").write_ipc_stream(None).getvalue()

    def have(self, rows: pl.Series) -> pl.Series:
        """Which of these rows are among them, as booleans."""
        if not len(self):
            return pl.repeat(value=False, n=len(rows), eager=True)
        places = self.numbers.search_sorted(rows).clip(0, len(self) - 1)
        return self.numbers.gather(places) == rows


@dataclass(slots=True)
class DeltaFilter:
    """A period's rows on their way; what it has counted is complete once its batches are read.

    Attributes:
        batches: The rows.
        columns: Those that were read.
        key: Those of them that tell the rows apart.
        known: The fingerprints of the rows that the target holds; None where that is not known.
        read: Rows that came.
        left_out: Those that the target holds already.
    """

    batches: pa.RecordBatchReader
    columns: Sequence[str]
    key: Sequence[str]
    known: Fingerprints | None = None
    read: int = 0
    left_out: int = 0
    _rows: list[pl.Series] = field(default_factory=list)
    _keys: list[pl.Series] = field(default_factory=list)
    _looked_at: int = 0
    _is_each_once: bool = True

    @classmethod
    def of(
        cls,
        batches: pa.RecordBatchReader,
        columns: Sequence[str],
        key: Sequence[str],
        known: bytes | None = None,
    ) -> Self:
        """Rows on their way to a target whose fingerprints were kept as these bytes."""
        kept = None if known is None else Fingerprints.from_bytes(known)
        return cls(batches, columns, key, kept)

    def differing(self) -> Iterator[pa.RecordBatch]:
        """The rows that the target may not have."""
        for batch in self.batches:
            if self.known is None:
                # Postgres works on them while they are counted here.
                yield batch
                self._count(batch)
                continue
            differ = ~self.known.have(self._count(batch))
            differing = batch.filter(differ.to_arrow())
            self.left_out += batch.num_rows - differing.num_rows
            if differing.num_rows:
                yield differing

    def _count(self, batch: pa.RecordBatch) -> pl.Series:
        """Take note of rows; returns the fingerprint of each."""
        frame = pl.DataFrame(batch.select(self.columns))
        rows = frame.hash_rows(seed=_OF_ROW)
        self._rows.append(rows)
        self._keys.append(frame.select(self.key).hash_rows(seed=_OF_KEY))
        self.read += len(rows)
        return rows

    def each_once(self) -> Iterator[pa.RecordBatch]:
        """The rows that the target may not have, as long as no key is known to come twice.

        It is looked for whenever the rows taken have doubled, and once all have been.

        Raises:
            NeedsMerge: there is such a key.
        """
        for batch in self.differing():
            yield batch
            if self.read >= 2 * self._looked_at:
                self._require_each_once()
        self._require_each_once()

    def _require_each_once(self) -> None:
        if not self.has_each_key_once:
            raise NeedsMerge

    @property
    def has_each_key_once(self) -> bool:
        """Whether no two rows have one key; that two keys collide is taken for it."""
        if self.read > self._looked_at:
            self._is_each_once = pl.concat(self._keys).is_unique().all()
            self._looked_at = self.read
        return self._is_each_once

    def fingerprints(self) -> bytes | None:
        """Those of all rows, to be kept; None where they do not tell the rows apart.

        Those of a period larger than any week are not kept either: they would be too long a value.
        """
        if self.read > _MOST:
            return None
        numbers = pl.concat(self._rows).sort() if self._rows else pl.Series(dtype=pl.UInt64)
        is_told_apart = self.has_each_key_once and numbers.n_unique() == len(numbers)
        return Fingerprints(numbers).to_bytes() if is_told_apart else None
