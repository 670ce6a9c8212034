"""Choose how a period is loaded: once, before the first of its rows is read.

    APPEND       the target has no row of the period,      COPY straight into the table
                 and none is to be put on record
    DELTA        only the source has changed               stage the rows that differ, upsert them
    INCREMENTAL  a derived period has only gained weeks    add these weeks to the sums it has
    MERGE        else                                      compare all rows with all of the target's

MERGE believes nothing but what it reads. The others build on what the ledger says or on an empty
target; where that turns out not to be so, they raise `NeedsMerge`, nothing of theirs is committed,
and the period is read again and merged.
"""

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqp_refresh.ledger.decide import Decision
from sqp_refresh.ledger.ledger import Baseline, read_baseline
from sqp_refresh.load.result import LoadResult
from sqp_refresh.load.target import TargetPeriod, TargetTable
from sqp_refresh.model.rows import SqlRows
from sqp_refresh.postgres.session import Session

if TYPE_CHECKING:
    import pyarrow as pa

    from sqp_refresh.load.append import EncodedRows


class Strategy(StrEnum):
    """How a period is loaded."""

    APPEND = "append"
    DELTA = "delta"
    INCREMENTAL = "incremental"
    MERGE = "merge"


def choose(
    decision: Decision,
    target: TargetTable,
    period: TargetPeriod,
    rows: "pa.RecordBatchReader | SqlRows",
) -> Strategy:
    """Choose the strategy for a period.

    Args:
        decision: Why the period is loaded, and how it was the last time.
        target: What of the table decides.
        period: The period of the table.
        rows: The rows, of which none has been read: their schema tells whether Postgres has to
            convert a value.
    """
    if target.is_altered:
        return Strategy.MERGE
    if isinstance(rows, SqlRows):
        can_add = decision.added_weeks and rows.of_added_weeks
        return Strategy.INCREMENTAL if can_add else Strategy.MERGE
    # Only all rows together tell which row of a key counts.
    if decision.has_superseded_rows:
        return Strategy.MERGE
    # COPY could not put on record that the rows of a period which had become empty are back.
    may_copy = target.accepts_copy and not period.is_recorded
    if may_copy and period.period not in target.periods_with_rows:
        from sqp_refresh.load.cast import target_schema

        if target_schema(period.table, rows.schema) is not None:
            return Strategy.APPEND
    entry = decision.entry
    has_hashes = entry is not None and entry.has_row_hashes and entry.target.rows > 0
    if decision.only_source_changed and has_hashes and not decision.has_lost_rows:
        return Strategy.DELTA
    return Strategy.MERGE


def prepare_rows(
    strategy: Strategy,
    target: TargetPeriod,
    decision: Decision,
    rows: "pa.RecordBatchReader | SqlRows",
) -> "pa.RecordBatchReader | EncodedRows | SqlRows":
    """Make rows ready for the strategy, before their transaction begins."""
    if strategy is Strategy.APPEND:
        from sqp_refresh.load.append import encode_ahead

        assert not isinstance(rows, SqlRows), "rows that Postgres computes are not appended"
        return encode_ahead(target, rows)
    if strategy is Strategy.INCREMENTAL:
        assert isinstance(rows, SqlRows), "only rows that Postgres computes are added to"
        assert rows.of_added_weeks, "the strategy was chosen because of it"
        return rows.of_added_weeks(decision.added_weeks)
    return rows


def load(
    session: Session,
    strategy: Strategy,
    target: TargetPeriod,
    rows: "pa.RecordBatchReader | EncodedRows | SqlRows",
    baseline: Baseline | None,
) -> LoadResult:
    """Load a period by the strategy that was chosen for it.

    The caller has held the rows against their contract, holds the table's lock, and commits.

    Args:
        session: A session with the target, in a transaction.
        strategy: How.
        target: The period of the table.
        rows: The rows, as `prepare_rows` has made them ready for the strategy.
        baseline: What the target held when the period was last loaded; see `baseline_of`.

    Raises:
        NeedsMerge: the strategy cannot tell what became of the period.
        DataError: a value does not fit its column, or rows would be lost.
        SchemaMismatch: a column has no exact equal in Postgres.
    """
    return _loader(strategy).load(session, target, rows, baseline)


def baseline_of(
    session: Session, strategy: Strategy, target: TargetPeriod, decision: Decision
) -> Baseline | None:
    """Read what a strategy builds on, if it builds on anything."""
    if strategy is Strategy.DELTA:
        return read_baseline(session, target.table, target.period)
    if strategy is Strategy.INCREMENTAL and decision.entry:
        return Baseline(decision.entry.target)
    return None


def _loader(strategy: Strategy) -> Any:  # noqa: ANN401, a module with a function `load`
    # Arrow's compute functions and Polars take a while to import, and not every night needs them.
    match strategy:
        case Strategy.APPEND:
            from sqp_refresh.load import append as loader
        case Strategy.DELTA:
            from sqp_refresh.load import delta as loader
        case Strategy.INCREMENTAL:
            from sqp_refresh.load import incremental as loader
        case Strategy.MERGE:
            from sqp_refresh.load import merge as loader
    return loader
