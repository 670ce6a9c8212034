"""Define what a period is made from: equal versions make equal rows.

A version is compared with the one that the ledger keeps of the last load. Both kinds are frozen,
and strict when they are read back: a misspelt key is an error, never a 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Self

from sqp_refresh.model.column_sums import ColumnSums
from sqp_refresh.model.tables import Origin, Table

ROW_COUNT = "row_count"
"""The total, among those that a version expects, that counts the rows of the target."""


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """What BigQuery holds of a period.

    Attributes:
        rows: Rows of the source (count).
        rejected: Those that break their contract (count).
        superseded: Those that keep it, but whose key another row has, too (count).
        expected: What the table must hold of the period, by the name of each total; empty where the
            period is not judged.
        digest: A hash over all values of all rows; rows in another order have the same.
        marketplace: The marketplace that rows get where the source has no such column.
        has_fractions: Whether the shares go from 0 to 1, told from the counts beside them. It
            follows from the rows, so that it is neither compared nor kept.
        shared_keys: Keys of the table that rows of several clients have (count); None where that
            is not known. Like what follows, it is not compared, because the digest tells it.
        clients: The names of those clients; not kept.
        off_midnight: Rows whose date has a time of day, in UTC (count); None where it has none.
        times: The earliest and the latest such time, as 22:00; not kept.
        columns: What the table must hold of each column; kept in certificates instead.
        instant: When BigQuery was read as of; None for a view, which is read as it is.
    """

    rows: int
    rejected: int
    superseded: int
    expected: Mapping[str, int]
    digest: str
    marketplace: str
    has_fractions: bool = field(default=False, compare=False)
    shared_keys: int | None = field(default=None, compare=False)
    clients: tuple[str, ...] = field(default=(), compare=False)
    off_midnight: int | None = field(default=None, compare=False)
    times: tuple[str, ...] = field(default=(), compare=False)
    columns: ColumnSums = field(default_factory=dict, compare=False)
    instant: datetime | None = field(default=None, compare=False)

    @property
    def rejected_ratio(self) -> float:
        """The part of the rows that break their contract, from 0 to 1."""
        return self.rejected / self.rows if self.rows else 0.0

    @property
    def expected_rows(self) -> int | None:
        """Rows that the table must hold of the period (count); None where it is not judged."""
        return self.expected.get(ROW_COUNT)

    def rows_to_read(self, table: Table) -> int | None:
        """Return how many rows a table reads for it: BigQuery aggregates those of some tables."""
        return self.rows if table.origin is Origin.SOURCE_ROWS else self.expected_rows

    def to_json(self) -> dict[str, Any]:
        """Return what the ledger keeps."""
        return {
            "rows": self.rows,
            "rejected": self.rejected,
            "superseded": self.superseded,
            "expected": dict(self.expected),
            "digest": self.digest,
            "marketplace": self.marketplace,
            "shared_keys": self.shared_keys,
            "off_midnight": self.off_midnight,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` made.

        Raises:
            TypeError: a key is missing, or is none of ours.
        """
        return cls(**value)


@dataclass(frozen=True, slots=True)
class ParentVersions:
    """What a period of a derived table is made from.

    Attributes:
        weeks: By parent table and Sunday, a hash of where the rows of the week lie there; see
            `TargetVersion`. A week without rows is not in it.
        columns: What the table must hold of each column, where that is not what its parents tell.
    """

    weeks: Mapping[str, Mapping[date, int]]
    columns: ColumnSums = field(default_factory=dict, compare=False)

    def added_since(self, before: "ParentVersions") -> list[date]:
        """List the Sundays of the weeks that a period is made from now, and was not before.

        Empty where that is not all that is different, and where there are more of them than of
        others, so that to add them would be more work than to sum up all.
        """
        now, then = self.weeks, before.weeks
        if now.keys() != then.keys() or any(then[name].items() - now[name].items() for name in now):
            return []
        old = {sunday for weeks in then.values() for sunday in weeks}
        new = {sunday for name in now for sunday in now[name].keys() - then[name].keys()}
        is_less_work = new.isdisjoint(old) and len(new) <= len(old)
        return sorted(new) if is_less_work else []

    def changed_since(self, before: "Version | None") -> list[date]:
        """List the Sundays of the weeks that a period is made from otherwise than before.

        Args:
            before: What it was made from then; None is nothing at all.
        """
        then = before.weeks if isinstance(before, ParentVersions) else {}
        changed = _states(self.weeks) ^ _states(then)
        return sorted({sunday for _, sunday, _ in changed})

    def to_json(self) -> dict[str, Any]:
        """Return what the ledger keeps."""
        return {
            "weeks": {
                parent: {str(sunday): state for sunday, state in weeks.items()}
                for parent, weeks in self.weeks.items()
            }
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` made.

        Raises:
            TypeError: a key is missing, or is none of ours.
        """
        if value.keys() != {"weeks"}:
            raise TypeError(f"not the versions of parents: {', '.join(value)}")
        return cls(
            {
                parent: {date.fromisoformat(sunday): state for sunday, state in weeks.items()}
                for parent, weeks in value["weeks"].items()
            }
        )


Version = SourceVersion | ParentVersions


def version_from_json(table: Table, value: Mapping[str, Any]) -> Version:
    """Read the version of one of a table's periods, as the ledger keeps it.

    Raises:
        TypeError: it is not of the kind that the table's periods have.
    """
    kind = ParentVersions if table.source is None else SourceVersion
    return kind.from_json(value)


def _states(weeks: Mapping[str, Mapping[date, int]]) -> set[tuple[str, date, int]]:
    """Return the state of each week of each parent, as one set."""
    return {
        (parent, sunday, state)
        for parent, of_parent in weeks.items()
        for sunday, state in of_parent.items()
    }
