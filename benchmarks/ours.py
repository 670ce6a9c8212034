"""Run this project on rows in memory: the engine whole, and some of its steps alone."""

import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.column_sums import column_sums
from benchmarks.rows import Rows, in_target_columns
from sqp_refresh.checks.metric_sql import DISTINCT_ASIN_COUNT
from sqp_refresh.checks.period_totals import measure_period
from sqp_refresh.extract.split_weeks import in_batches_of
from sqp_refresh.ledger.ledger import Baseline
from sqp_refresh.load import strategy
from sqp_refresh.load.copy import stage
from sqp_refresh.load.result import Counts, LoadResult
from sqp_refresh.load.strategy import Strategy
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, ReadStats, SourceBatches, SqlRows
from sqp_refresh.model.tables import (
    CHILD_ASIN_TITLE,
    OWN_COUNTS,
    SEARCH_QUERY_PERFORMANCE,
    SQP_REPORT,
    Table,
)
from sqp_refresh.model.versions import ROW_COUNT, SourceVersion
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.run import RefreshRequest, refresh
from sqp_refresh.settings import Settings
from sqp_refresh.validate.row_validator import validated

_BATCH_SIZE = Settings.model_fields["REFRESH_BATCH_SIZE"].default
_TITLES = {column.name: column.title for column in SQP_REPORT.columns}


@dataclass(slots=True)
class MemorySource:
    """The table's rows in memory, row by row as BigQuery has them, without BigQuery's own time.

    No two of these have the same version of a week, so that no week is skipped, and none is forced
    either.

    Attributes:
        rows: The rows.
        weeks: The version of each week.
        table: The table that they are of.
        batch_size: Of no meaning here: the rows are in batches already.
        stats: How the rows were read.
    """

    rows: Rows
    weeks: Mapping[Period, SourceVersion]
    table: Table = SEARCH_QUERY_PERFORMANCE
    batch_size: int | None = None
    stats: ReadStats = field(default_factory=lambda: ReadStats("memory"))

    def periods(self, session: Session) -> Sequence[Period]:
        """Return the weeks of the rows."""
        return list(self.weeks)

    def versions(
        self, session: Session, periods: Sequence[Period]
    ) -> Mapping[Period, SourceVersion]:
        """Return the version of each week."""
        return self.weeks

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        """Return the rows of each of these weeks, as one batch."""
        for week, batch in self.rows.batches_of(periods):
            sized = in_batches_of(_BATCH_SIZE, [batch])
            yield PeriodRows(week, SourceBatches(batch.schema, sized, {}))


def engine(url: str, rows: Rows) -> Callable[[], None]:
    """Validated, loaded, indexed, reconciled, certified and recorded, a transaction a week.

    By as many writers as the default setting says.
    """
    return _refresh(url, rows, Settings.model_fields["REFRESH_WRITERS"].default)


def one_writer(url: str, rows: Rows) -> Callable[[], None]:
    """Load the same way, by one writer."""
    return _refresh(url, rows, 1)


def _refresh(url: str, rows: Rows, writers: int) -> Callable[[], None]:
    source = MemorySource(rows, _versions(rows))
    _load_late(rows)

    def load() -> None:
        refresh(url, source, RefreshRequest(str(uuid.uuid4()), writers=writers))

    return load


def staging(url: str, rows: Rows) -> Callable[[], None]:
    """The staging COPY alone: rows that are valid already, into one temporary table."""
    batches = list(_valid(rows, rows.batches()))

    def load() -> None:
        with connect(url) as session, session.transaction():
            stage(session, batches[0].schema, batches)

    return load


def bystander(url: str, rows: Rows) -> Callable[[], None]:
    """The engine whole, but for what finds the rows that differ and writes them: it only stages."""

    def stage_only(
        session: Session,
        chosen: Strategy,
        target: TargetPeriod,
        period_rows: pa.RecordBatchReader,
        baseline: Baseline | None,
    ) -> LoadResult:
        assert chosen is Strategy.DELTA, "the same rows were loaded before"
        staged = stage(session, period_rows.schema, period_rows)
        totals = measure_period(session, target.table, target.period)
        row_hashes = baseline.row_hashes if baseline else None
        return LoadResult(Counts(read=staged, unchanged=staged), totals, row_hashes)

    strategy.load = stage_only
    return engine(url, rows)


def validation(url: str, rows: Rows) -> Callable[[], None]:
    """Rows in memory, read from their source's types and held against the contract, no more."""
    batches = list(rows.batches())
    _load_late(rows)

    def load() -> None:
        for _ in _valid(rows, batches):
            pass

    return load


def _load_late(rows: Rows) -> None:
    """Load what a run would load on its way: a peer's libraries are loaded by now, too."""
    # Pandera loads its own when it validates for the first time.
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


def _versions(rows: Rows) -> dict[Period, SourceVersion]:
    """Return what BigQuery would say of each week: the sums of each column, too."""
    unlike_any_other = str(uuid.uuid4())
    return {
        week: SourceVersion(
            rows=batch.num_rows,
            rejected=0,
            superseded=0,
            expected=_expected(batch),
            digest=unlike_any_other,
            marketplace=Settings.model_fields["SQP_MARKETPLACE"].default,
            columns=column_sums(in_target_columns(week, batch)),
        )
        for week, batch in zip(rows.weeks(), rows.batches(), strict=True)
    }


def _expected(batch: pa.RecordBatch) -> dict[str, int]:
    asins = pc.call_function("count_distinct", [batch.column(CHILD_ASIN_TITLE)]).as_py()
    sums = {
        f"sum_{count}": pc.call_function("sum", [batch.column(_TITLES[count])]).as_py()
        for count in OWN_COUNTS
    }
    return {ROW_COUNT: batch.num_rows, DISTINCT_ASIN_COUNT: asins} | sums
