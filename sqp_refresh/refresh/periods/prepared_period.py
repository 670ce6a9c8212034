"""Prepare a period: choose how it is loaded, and have its rows made ready while they are read."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sqp_refresh.ledger.decide import Decision
from sqp_refresh.load import strategy as loading
from sqp_refresh.load.strategy import Strategy
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.rows import PeriodRows, SourceBatches, SqlRows
from sqp_refresh.refresh.result import RefreshState
from sqp_refresh.validate.row_validator import RowValidator, ValidatedRows, validated

if TYPE_CHECKING:
    import pyarrow as pa

    from sqp_refresh.load.append import EncodedRows

SAMPLE = 1_000
"""Bad rows of a rejected week that are kept, to see what is wrong with it (count)."""


@dataclass(frozen=True, slots=True)
class PreparedPeriod:
    """A period whose rows are about to be read, and how it is loaded.

    Attributes:
        target: The period of the table.
        decision: Why it is loaded.
        strategy: How it is loaded.
        rows: The good rows, ready for the strategy.
        validator: What keeps the bad rows back; None where Postgres or BigQuery computed them.
    """

    target: TargetPeriod
    decision: Decision
    strategy: Strategy
    rows: "pa.RecordBatchReader | EncodedRows | SqlRows"
    validator: RowValidator | None = None

    def batches(self) -> Iterable[Any]:
        """Return the batches of its rows; none where Postgres computes them."""
        return () if isinstance(self.rows, SqlRows) else self.rows

    def with_batches(self, batches: Iterator[Any]) -> "PreparedPeriod":
        """Return the same, with batches that come from elsewhere."""
        if isinstance(self.rows, SqlRows):
            return self
        # Only rows need Arrow, which takes a while to import.
        import pyarrow as pa

        if isinstance(self.rows, pa.RecordBatchReader):
            reader = pa.RecordBatchReader.from_batches(self.rows.schema, batches)
            return replace(self, rows=reader)
        return replace(self, rows=replace(self.rows, batches=batches))


def prepared(state: RefreshState, period_rows: PeriodRows) -> PreparedPeriod:
    """Choose how a period is loaded, and have its rows made ready while they are read."""
    plan, decision = state.plan, state.plan.decisions[period_rows.period]
    entry, keeps_history = decision.entry, state.request.keeps_history
    # What a first publish inserts was never otherwise, so that there is nothing to put on record.
    recorded_by = state.audit_log_id if keeps_history and entry and entry.has_history else None
    target = TargetPeriod(state.table, period_rows.period, recorded_by)
    good = validated(state.table, period_rows, _most_invalid(plan.max_rejected_ratio, decision))
    assert not isinstance(good.rows, SourceBatches), "they are validated"
    if target.period in state.reloaded:
        strategy = Strategy.MERGE
    else:
        strategy = loading.choose(decision, plan.target, target, good.rows)
    rows = loading.prepare_rows(strategy, target, decision, good.rows)
    validator = good.validator if isinstance(good, ValidatedRows) else None
    return PreparedPeriod(target, decision, strategy, rows, validator)


def _most_invalid(max_rejected_ratio: float, decision: Decision) -> int | None:
    """Return how many bad rows are worth keeping: with more of them, the week is rejected."""
    if decision.rows is None:
        return None
    return max(SAMPLE, math.ceil(max_rejected_ratio * decision.rows))
