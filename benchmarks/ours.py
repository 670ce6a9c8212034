"""Measure this project with rows from memory: a whole refresh, and some of its steps alone."""

import uuid
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.command import Load
from benchmarks.rows import Rows
from sqp_refresh.checks.period_totals import measure_period
from sqp_refresh.ledger.target_version import Baseline
from sqp_refresh.load.result import Counts, LoadResult
from sqp_refresh.load.staging import stage
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, ReadStats, SourceBatches, SqlRows, State
from sqp_refresh.model.tables import (
    CHILD_ASIN_TITLE,
    OWN_COUNTS,
    SEARCH_QUERY_PERFORMANCE,
    SQP_REPORT,
    Table,
)
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.run import RefreshRequest, refresh
from sqp_refresh.validate.row_validator import validated

_TITLES = {column.name: column.title for column in SQP_REPORT.columns}


@dataclass(slots=True)
class MemorySource:
    """A source that hands rows over as BigQuery does, without BigQuery's own time.

    Each source has other versions of its weeks, so that no week is skipped, and none is forced.
    """

    rows: Rows
    version_of_week: Mapping[Period, State]
    table: Table = SEARCH_QUERY_PERFORMANCE
    batch_size: int | None = None
    stats: ReadStats = field(default_factory=lambda: ReadStats("memory"))

    def periods(self, session: Session) -> Sequence[Period]:
        """Return the weeks of the rows."""
        return list(self.version_of_week)

    def states(self, session: Session, periods: Sequence[Period]) -> Mapping[Period, State]:
        """Return the version of each week."""
        return self.version_of_week

    def parts(self, periods: Sequence[Period]) -> Generator[PeriodRows]:
        """Yield the rows of each week, as one batch."""
        requested = set(periods)
        for week, batch in zip(self.version_of_week, self.rows.batches(), strict=True):
            if week in requested:
                yield PeriodRows(week, SourceBatches(batch.schema, [batch], {}))


def engine(url: str, rows: Rows) -> Load:
    """Validated, published, indexed, reconciled and recorded, a transaction a week."""
    source = MemorySource(rows, _states(rows))
    _load_late(rows)

    def load() -> None:
        refresh(url, source, RefreshRequest(str(uuid.uuid4())))

    return load


def staging(url: str, rows: Rows) -> Load:
    """The staging COPY alone: rows that are valid already, into one temporary table."""
    batches = list(_valid(rows, rows.batches()))

    def load() -> None:
        with connect(url) as session, session.transaction():
            stage(session, batches[0].schema, batches)

    return load


def bystander(url: str, rows: Rows) -> Load:
    """The engine whole, but for the statement that compares and writes: it only stages."""
    from sqp_refresh.refresh import run as engine_room

    def staged(
        session: Session,
        table: Table,
        period_rows: PeriodRows,
        *,
        known: Baseline | None,
        whole: bool,
    ) -> LoadResult:
        assert not isinstance(period_rows.rows, SourceBatches | SqlRows), "valid rows are batches"
        count = stage(session, period_rows.rows.schema, period_rows.rows)
        now = measure_period(session, table, period_rows.period)
        fingerprints = known.fingerprints if known else None
        return LoadResult(Counts(read=count, unchanged=count), now, fingerprints)

    engine_room.publish = staged
    return engine(url, rows)


def validation(url: str, rows: Rows) -> Load:
    """Rows in memory, cast from their source's types and checked against the contract, no more."""
    batches = list(rows.batches())
    _load_late(rows)

    def load() -> None:
        for _ in _valid(rows, batches):
            pass

    return load


def _load_late(rows: Rows) -> None:
    """Load what a run would load on its way: a peer's libraries are loaded by now, too."""
    import sqp_refresh.postgres

    _ = sqp_refresh
    # Pandera loads its own modules when it validates for the first time.
    week, batch = next(zip(rows.weeks(), rows.batches(), strict=True))
    _good(week, batch.slice(0, 0)).read_all()


def _valid(rows: Rows, batches: Iterable[pa.RecordBatch]) -> Generator[pa.RecordBatch]:
    for week, batch in zip(rows.weeks(), batches, strict=True):
        yield from _good(week, batch)


def _good(week: Period, batch: pa.RecordBatch) -> pa.RecordBatchReader:
    period_rows = PeriodRows(week, SourceBatches(batch.schema, [batch], {}))
    good = validated(SEARCH_QUERY_PERFORMANCE, period_rows)
    assert not isinstance(good.rows, SourceBatches | SqlRows), "rows of a source have a contract"
    return good.rows


def _states(rows: Rows) -> dict[Period, State]:
    """Return a version of each week as BigQuery has it: its rows, and the sums to reconcile."""
    unlike_any_other = str(uuid.uuid4())
    return {
        week: State(
            {
                "digest": unlike_any_other,
                "source_rows": batch.num_rows,
                "landing": batch.num_rows,
                "broken": 0,
                "expected": _expected(batch),
            },
            batch.num_rows,
        )
        for week, batch in zip(rows.weeks(), rows.batches(), strict=True)
    }


def _expected(batch: pa.RecordBatch) -> dict[str, int]:
    asins = pc.call_function("count_distinct", [batch.column(CHILD_ASIN_TITLE)]).as_py()
    sums = {
        f"sum_{count}": pc.call_function("sum", [batch.column(_TITLES[count])]).as_py()
        for count in OWN_COUNTS
    }
    return {"row_count": batch.num_rows, "distinct_asin_count": asins} | sums
