"""Define what loading a period comes to: exact counts, and what the table holds afterwards."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any, Self

from sqp_refresh.checks.period_totals import PeriodTotals
from sqp_refresh.errors import DataError


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows of one period, or of several added up (counts).

    Attributes:
        read: Rows that came from the source, or that a rollup computed.
        superseded: Rows whose key another row of the same period carries with a later date.
        inserted: Rows new to the target.
        updated: Rows whose values differed.
        unchanged: Rows that the target held already, value by value.
        deleted: Rows of the target that the source no longer has.
        retained: Rows that the target keeps although the source's period came empty.
        quarantined: Rows that broke their contract and reached no target.
    """

    read: int = 0
    superseded: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    deleted: int = 0
    retained: int = 0
    quarantined: int = 0

    def __add__(self, other: Self) -> "Counts":
        return Counts(
            *(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True))
        )

    def with_unchanged(self, rows: int) -> "Counts":
        """Add rows that the target holds already, and that did not have to be sent."""
        return self + Counts(read=rows, unchanged=rows)

    @property
    def landed(self) -> int:
        """Rows of the period that the target has now, but for those it retained (count)."""
        return self.inserted + self.updated + self.unchanged

    @property
    def changed(self) -> int:
        """Rows that were written or removed (count)."""
        return self.inserted + self.updated + self.deleted

    @property
    def rows_before(self) -> int:
        """Rows that the target had of the period before (count)."""
        return self.updated + self.unchanged + self.deleted + self.retained

    def check_nothing_lost(self) -> None:
        """Require that every row that was read is accounted for.

        Raises:
            DataError: the counts do not add up, so the transaction must not be committed.
        """
        if self.read != self.landed + self.superseded + self.quarantined:
            raise DataError(
                f"{self.read} rows were read, but {self.landed} landed, {self.superseded} were "
                f"superseded and {self.quarantined} quarantined; a trigger or a rule of the table "
                "keeps rows out, drop or disable it"
            )


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What loading a period did.

    Attributes:
        counts: Its rows.
        totals: What the table holds of the period now.
        row_hashes: A hash of each row, to be kept; None where they would not tell the rows apart,
            and for rows that Postgres has computed.
        deleted: The key of each row that was deleted: the values of `Table.group_key`, as JSON has
            them.
        altered: Rows that the table holds otherwise than they were written (count).
    """

    counts: Counts
    totals: PeriodTotals
    row_hashes: bytes | None = None
    deleted: Sequence[tuple[Any, ...]] = ()
    altered: int = 0


class NeedsMerge(Exception):
    """The strategy cannot tell what became of the period: it must be read again, and merged."""
