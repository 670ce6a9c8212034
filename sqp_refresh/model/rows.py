"""Define what passes between the steps: the rows of one week or period, on their way to a table.

`extract` brings them as Arrow batches out of BigQuery, `rollup` as SQL over the tables that are in
Postgres already; `load` writes either.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from psycopg import sql

from sqp_refresh.model.periods import Period

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class SqlRows:
    """Rows that Postgres computes itself.

    Attributes:
        select: The SELECT that yields them. Its parameters are the first and the last day of the
            period: `%(period_start)s` and `%(period_end)s`.
        columns: The columns that it yields.
        of_added_weeks: What makes, of the Sundays of weeks that the period has gained while all
            else stayed as it was, the rows that this changes; None where that takes all rows.
    """

    select: sql.Composable
    columns: tuple[str, ...]
    of_added_weeks: "Callable[[Sequence[date]], SqlRows] | None" = None


@dataclass(frozen=True, slots=True)
class SourceBatches:
    """Rows as the source sends them, by its own titles: not yet held against their contract.

    Attributes:
        schema: Of every batch.
        batches: Arrow batches, which are read once.
        constants: The value of a column that the source does not have, by its title.
    """

    schema: "pa.Schema"
    batches: "Iterable[pa.RecordBatch]"
    constants: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PeriodRows:
    """The rows of one table in one period: what one transaction loads.

    Attributes:
        period: The week, or the calendar period, that the rows belong to.
        rows: Rows as the source sends them, Arrow batches with our names and types that are read
            once, or a query that Postgres runs.
    """

    period: Period
    rows: "SourceBatches | pa.RecordBatchReader | SqlRows"


@dataclass(frozen=True, slots=True)
class OutOfReach:
    """The rows of a source that no refresh will look at, whichever weeks it is for.

    Attributes:
        undated: Those without a date, which no week can claim (count).
        misdated: Those dated before the first week, or after the one that goes on (count).
        first: The first of their dates; None where there is none.
        last: The last of their dates.
    """

    undated: int = 0
    misdated: int = 0
    first: date | None = None
    last: date | None = None

    @property
    def rows(self) -> int:
        """How many there are."""
        return self.undated + self.misdated

    def to_json(self) -> dict[str, Any]:
        """Return what sync_metadata keeps."""
        days = {"first": self.first, "last": self.last}
        dates = {name: str(day) if day else None for name, day in days.items()}
        return {"undated": self.undated, "misdated": self.misdated, **dates}


@dataclass(slots=True)
class ReadStats:
    """How a source read its rows, filled in while it does; goes to the audit log.

    Attributes:
        method: The protocol that was used, in words.
        job_id: The BigQuery job, where there was one.
        bytes_billed: What BigQuery charged for; None where nothing was billed by the query.
        schema: The source's columns and their types, by title; empty where there is no such thing.
        out_of_reach: Rows that no refresh will look at; None where nobody has looked for them.
        changed_at: When the source was last changed; None where that is not known.
    """

    method: str = ""
    job_id: str | None = None
    bytes_billed: int | None = None
    schema: dict[str, str] = field(default_factory=dict)
    out_of_reach: OutOfReach | None = None
    changed_at: datetime | None = None

    def add_bytes_billed(self, more: int | None) -> None:
        """Add what another job was charged for."""
        self.bytes_billed = (self.bytes_billed or 0) + (more or 0)
