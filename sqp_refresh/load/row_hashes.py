"""Hash rows, so that a row which comes again can be told from one that has changed.

A hash is 64 bits over all that was read of a row. Those of the rows that a period was made of are
kept in the ledger when it is loaded; as long as nobody else touched its rows, a row that comes with
a hash that was kept is in the target as it is. A changed row that meets one of them by chance would
be missed: once in 2^64 changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import polars as pl
import pyarrow as pa

from sqp_refresh.load.result import NeedsMerge

# Two hashes, so that keys that collide are not rows that do.
_ROW_SEED, _KEY_SEED = 1, 2
_MOST = 5_000_000
"""Rows of a period whose hashes are kept at the most: those of more would be too long a value."""


@dataclass(frozen=True, slots=True)
class RowHashes:
    """The hashes of the rows of one period, each once, in ascending order.

    Attributes:
        numbers: One a row, 64 bits.
    """

    numbers: pl.Series

    def __len__(self) -> int:
        return len(self.numbers)

    @classmethod
    def from_bytes(cls, kept: bytes) -> Self:
        """Read what `to_bytes` made.

        Raises:
            NeedsMerge: it is something else, or damaged; a merge makes it anew.
        """
        try:
            # Polars panics at some damaged bytes, and Arrow reports all of them.
            hashes = pa.ipc.open_stream(kept).read_all()
            hashes.validate(full=True)
            if hashes.schema.types != [pa.uint64()]:
                raise NeedsMerge
        except (pa.ArrowException, OSError, ValueError) as error:
            raise NeedsMerge from error
        numbers = pl.Series("row", hashes.column(0))
        if numbers.null_count() or not numbers.is_sorted():
            raise NeedsMerge
        return cls(numbers)

    def to_bytes(self) -> bytes:
        """Return what is kept in the ledger, eight bytes a row."""
        return self.numbers.to_frame("row").write_ipc_stream(None).getvalue()

    def contain(self, hashes: pl.Series) -> pl.Series:
        """Return which of these hashes are among them, as booleans."""
        if not len(self):
            return pl.repeat(value=False, n=len(hashes), eager=True)
        # Both sides are numbers in order, so that a binary search tells.
        places = self.numbers.search_sorted(hashes).clip(0, len(self) - 1)
        return self.numbers.gather(places) == hashes


@dataclass(slots=True)
class RowHasher:
    """Hashes rows as they pass, and notices keys that come twice.

    Attributes:
        columns: The columns that are hashed.
        key: Those of them that tell the rows apart.
        rows: Rows that have passed (count).
    """

    columns: Sequence[str]
    key: Sequence[str]
    rows: int = 0
    _rows: list[pl.Series] = field(default_factory=list)
    _keys: list[pl.Series] = field(default_factory=list)
    _checked: int = 0
    _is_unique: bool = True

    def add(self, batch: pa.RecordBatch) -> pl.Series:
        """Take note of rows; returns the hash of each."""
        frame = pl.DataFrame(batch.select(self.columns))
        hashes = frame.hash_rows(seed=_ROW_SEED)
        self._rows.append(hashes)
        self._keys.append(frame.select(self.key).hash_rows(seed=_KEY_SEED))
        self.rows += len(hashes)
        return hashes

    @property
    def is_due(self) -> bool:
        """Whether the rows have doubled since their keys were looked through."""
        return self.rows >= 2 * self._checked

    @property
    def has_unique_keys(self) -> bool:
        """Whether no two rows have one key; that two keys collide is taken for it."""
        if self.rows > self._checked:
            self._is_unique = pl.concat(self._keys).is_unique().all()
            self._checked = self.rows
        return self._is_unique

    def to_bytes(self) -> bytes | None:
        """Return the hashes of all rows, to be kept; None where they do not tell the rows apart."""
        if self.rows > _MOST:
            return None
        numbers = pl.concat(self._rows).sort() if self._rows else pl.Series(dtype=pl.UInt64)
        is_unique = self.has_unique_keys and numbers.n_unique() == len(numbers)
        return RowHashes(numbers).to_bytes() if is_unique else None
