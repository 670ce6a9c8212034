"""Say what a table is: its key, its columns, where each value comes from, and what it depends on.

`tables.py` holds the tables themselves and `vendor_report.py` the report that they come from; this
module only defines the classes that both are written with.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from sqp_refresh.model.periods import Grain
from sqp_refresh.schema_name import SCHEMA as SCHEMA

TEXT = "text"
DATE = "date"
COUNT = "bigint"
PERCENT = "numeric(10,4)"
PRICE = "numeric(12,2)"

_OURS = "__sqp_"

PERIOD_COLUMNS = ("start_date", "end_date", "period_start", "period_end")
"""Columns that take the first or the last day of their row's period, where no source fills them."""


class Origin(StrEnum):
    """The engine that computes a table's rows."""

    SOURCE_ROWS = "BigQuery, row by row"
    SOURCE_AGGREGATE = "BigQuery, aggregated there"
    POSTGRES = "Postgres, from the tables it depends on"


class Dependency(StrEnum):
    """What a failed parent means for its dependent: not refreshed, or refreshed with a warning."""

    HARD = "hard"
    SOFT = "soft"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a target: its Postgres type, and what it means, with its unit."""

    name: str
    type: str
    description: str


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """One column of the BigQuery table, by the title the vendor gave it, and what it becomes."""

    title: str
    name: str
    type: str
    description: str
    optional: bool = False

    @property
    def target(self) -> Column:
        """Return the column that receives it."""
        return Column(self.name, self.type, self.description)


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A table in BigQuery, and what is read of it.

    Attributes:
        columns: What is read, by title, and what it becomes.
        week_title: Title of the column that places a row in its week; None reads all rows at once.
        key: The columns, by our names, that tell the rows of one week apart.
        name: The table, as an operator registered it; None is the vendor's, which a setting names.
    """

    columns: tuple[SourceColumn, ...]
    week_title: str | None
    key: tuple[str, ...]
    name: str | None = None

    @property
    def is_vendor_report(self) -> bool:
        """Return whether it is Amazon's report as the vendor exports it, not a registered table."""
        return self.name is None

    def is_missing_when_blank(self, column: SourceColumn) -> bool:
        """Return whether a text without a letter in a column is as missing as a null.

        It is where the vendor names things. A text of the key that is blank breaks the contract,
        unless another column stands in for it, as that of the parent does for an ASIN.
        """
        is_text = self.is_vendor_report and column.type == TEXT
        return is_text and (column.name not in self.key or column.name == "asin")


@dataclass(frozen=True, slots=True)
class Table:
    """One target: everything the steps and the asset graph need to know about it.

    A value that `ratios`, `medians`, `sums` and `counts` do not name is taken as it is, from the
    column of its name one level below.

    Attributes:
        row: What one row is, in the words of the person who reads it.
        grain: How much time a row covers.
        scope: The key column whose value places a row in the week or period published at once;
            None where all rows are published at once.
        key: The primary key, in the order of its index.
        values: The columns beside the key.
        ratios: Values that are 100 * dividend / divisor of two others, null where that is 0.
        medians: Values that are the exact median of a source measure over the rows in a row.
        sums: Values that add up a count over the rows in a row.
        counts: Values that count the different values of a key column over the rows in a row.
        kept_when_null: Values that a null from the source never overwrites.
        is_stamped: Whether `updated_at` tells when a value of the row last changed.
        source: What BigQuery is read for; None for a table derived in Postgres.
        parents: Tables that must be fresh before this one, and how strictly.
        priority: Higher is refreshed first among tables that are ready.
        frequency_hours: Hours between two refreshes.
    """

    name: str
    row: str
    origin: Origin
    grain: Grain
    scope: str | None
    key: tuple[Column, ...]
    values: tuple[Column, ...]
    priority: int
    frequency_hours: int = 24
    source: SourceSpec | None = None
    parents: dict[str, Dependency] = field(default_factory=dict)
    ratios: dict[str, tuple[str, str]] = field(default_factory=dict)
    medians: dict[str, str] = field(default_factory=dict)
    sums: dict[str, str] = field(default_factory=dict)
    counts: dict[str, str] = field(default_factory=dict)
    kept_when_null: frozenset[str] = frozenset()
    is_stamped: bool = True

    @property
    def columns(self) -> tuple[Column, ...]:
        """Return key and values, without the two timestamps that Postgres keeps itself."""
        return self.key + self.values

    @property
    def names(self) -> frozenset[str]:
        """Return the names of all columns."""
        return frozenset(column.name for column in self.columns)

    @property
    def group_key(self) -> tuple[str, ...]:
        """Return the columns that tell the rows of one period apart.

        They are those of the key that the period does not fill.
        """
        read = {column.name for column in self.source.columns} if self.source else set()
        filled = set(PERIOD_COLUMNS) - read
        return tuple(column.name for column in self.key if column.name not in filled)

    @property
    def is_grouped(self) -> bool:
        """Return whether a row sums up or counts several rows of the level below."""
        return bool(self.sums or self.counts or self.medians)


def ours(name: str) -> str:
    """Return a name for what only a query has, as no table, and no column of one, is named.

    ours("week")  # "__sqp_week"
    """
    return _OURS + name


def is_ours(name: str) -> bool:
    """Return whether a table or column has a name as `ours` makes them, in any case."""
    return name.lower().startswith(_OURS)


def middle_columns(median: str) -> tuple[str, str]:
    """Name the two columns that carry a median's middle values; equal where their number is odd.

    Their mean is taken in Postgres, exactly and rounded once.
    """
    return f"{median}_low", f"{median}_high"


def measures_first(columns: tuple[Column, ...]) -> list[Column]:
    """Order columns as they settle which of two contradicting rows counts: numbers, then texts."""
    return sorted(columns, key=lambda column: column.type == TEXT)
