"""What passes between the steps: the rows of one week or period, on their way to a table.

A feed reads a table's rows part by part. `extract` makes feeds of Arrow batches out of BigQuery,
`rollup` feeds of SQL over the tables already in Postgres; `load` publishes either.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from psycopg import sql

from sqp_refresh.model.periods import Period

if TYPE_CHECKING:
    import pyarrow as pa

    from sqp_refresh.model.tables import Table
    from sqp_refresh.postgres.session import Session


@dataclass(frozen=True, slots=True)
class SqlRows:
    """Rows that Postgres computes itself.

    Attributes:
        select: The SELECT that yields them.
        columns: The columns that it yields.
        is_whole: Whether they are all rows of their period; else those that may have changed.
        with_gained: Of weeks, by their Sundays, that the period has gained while all else stayed as
            it was published: the query of the rows that this changes. None where that takes all.
    """

    select: sql.Composable
    columns: tuple[str, ...]
    is_whole: bool = True
    with_gained: "Callable[[Iterable[date]], SqlRows] | None" = None


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
    """The rows of one table in one period: what one transaction publishes.

    Attributes:
        period: The week, or the calendar period, that the rows belong to.
        rows: Rows as the source sends them, Arrow batches with our names and types that are read
            once, with what they are sent as where that is made ready, or a query that Postgres
            runs.
    """

    period: Period
    rows: "SourceBatches | pa.RecordBatchReader | SqlRows"

    @property
    def is_whole(self) -> bool:
        """Whether all rows of the period come, so that those which do not are gone."""
        return not isinstance(self.rows, SqlRows) or self.rows.is_whole


WEEKS = "weeks"
"""What a derived period is made from: by table and Sunday, the run that last changed the week."""


@dataclass(frozen=True, slots=True)
class State:
    """What a period is made from, in short: equal states make equal rows.

    Attributes:
        value: Counts, sums and fingerprints, or the runs that last changed the weeks below, as JSON
            has them.
        rows: Rows that reading the period will give; None where only reading tells.
    """

    value: Mapping[str, Any]
    rows: int | None = None

    @property
    def broken_ratio(self) -> float:
        """The part of the source's rows that break their contract, from 0 to 1."""
        rows, broken = self.value.get("source_rows"), self.value.get("broken")
        return broken / rows if rows and broken else 0.0

    @property
    def lands(self) -> int | None:
        """Rows that the table must hold of the period; None where that is not known."""
        return self.value.get("expected", {}).get("row_count")

    @property
    def superseded(self) -> int:
        """Rows of the source that do not land, because another one has their key."""
        good = self.value.get("source_rows", 0) - self.value.get("broken", 0)
        return good - self.value.get("landing", good)

    @property
    def has_fractions(self) -> bool:
        """Whether the shares are fractions from 0 to 1, told from the counts beside them."""
        return self.value.get("fractions", 0) > self.value.get("percents", 0)

    def gained_since(self, before: Mapping[str, Any]) -> list[date]:
        """The Sundays of the weeks that a derived period is made from now, and was not before.

        Empty where that is not all that is different, and where there are more of them than of
        others, so that to add them would be more work than to sum up all.

        Args:
            before: What the period was made from before.
        """
        now, then = self.value.get(WEEKS, {}), before.get(WEEKS, {})
        if now.keys() != then.keys() or any(then[name].items() - now[name].items() for name in now):
            return []
        known = {sunday for weeks in then.values() for sunday in weeks}
        gained = {sunday for name in now for sunday in now[name].keys() - then[name].keys()}
        is_less = gained.isdisjoint(known) and len(gained) <= len(known)
        return sorted(map(date.fromisoformat, gained)) if is_less else []


@dataclass(slots=True)
class ReadStats:
    """How a feed read its rows, filled in while it does; goes to the audit log.

    Attributes:
        method: The protocol that was used, in words.
        job_id: The BigQuery job, where there was one.
        bytes_billed: What BigQuery charged for; None where nothing was billed by the query.
        schema: The source's columns and their types, by title; empty where there is no such thing.
        undated: Rows of the source that belong to no week, because they have no date.
    """

    method: str = ""
    job_id: str | None = None
    bytes_billed: int | None = None
    schema: dict[str, str] = field(default_factory=dict)
    undated: int = 0

    def bill(self, more: int | None) -> None:
        """Add what another job was charged for."""
        self.bytes_billed = (self.bytes_billed or 0) + (more or 0)


@runtime_checkable
class Source(Protocol):
    """A source of parts. Nothing is opened or read before it is asked for."""

    table: "Table"
    stats: ReadStats
    batch_size: int | None

    def periods(self, session: "Session") -> Sequence[Period]:
        """The periods there are to publish, in order of time."""
        ...

    def states(self, session: "Session", periods: Sequence[Period]) -> Mapping[Period, State]:
        """What each of these periods is made from, at a fraction of the cost of its rows."""
        ...

    def parts(self, periods: Sequence[Period]) -> Generator[PeriodRows]:
        """The parts of these periods, in order; each is used up before the next is asked for."""
        ...
