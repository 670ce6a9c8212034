"""Build a Pandera model from the contract of each source, and validate whole Arrow batches by it.

Every row of a night passes through here, so a batch is validated in two steps: a schema of all
rules together says which rows break any, and only of those few each rule is computed again.
"""

from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import and_
from typing import TYPE_CHECKING

import numpy as np
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from sqp_refresh.model.contract import contract_of
from sqp_refresh.model.tables import SourceSpec
from sqp_refresh.model.types import LogicalType, logical_type

if TYPE_CHECKING:
    from pandera.polars import PolarsData
    from pyarrow import Array, RecordBatch


@dataclass(frozen=True, slots=True)
class Model:
    """The contract of a source's rows.

    Attributes:
        schema: The columns, and one check of all rules: one for each would take ten times as long.
        gate: The same without the columns, and without the rules that decide nothing.
        gate_without_nul: The same for rows without a NUL byte, as nearly all are: to look for one
            in every text takes a quarter of the time.
        kept: Whether each rule holds, by what is wrong where it does not.
        numbers: The columns of numbers as numbers; BIGNUMERIC comes as text, to stay exact.
    """

    schema: pa.DataFrameSchema
    gate: pa.DataFrameSchema
    gate_without_nul: pa.DataFrameSchema
    kept: dict[str, pl.Expr]
    numbers: list[pl.Expr]

    def reasons(self, batch: "RecordBatch") -> dict[int, list[str]]:
        """Return what is wrong with each row that breaks a rule, by its place in the batch."""
        rows = pl.DataFrame(batch).with_columns(self.numbers)
        gate = self.gate if any(map(_has_nul, batch.columns)) else self.gate_without_nul
        places = _broken(gate, rows)
        reasons: dict[int, list[str]] = {place: [] for place in places}
        if places:
            broken_rules = rows[places].select(
                ~kept.alias(reason) for reason, kept in self.kept.items()
            )
            for is_broken in broken_rules:
                for number in is_broken.arg_true():
                    reasons[places[number]].append(is_broken.name)
        return reasons


def _broken(gate: pa.DataFrameSchema, rows: pl.DataFrame) -> list[int]:
    """Return the places of the rows that break a schema."""
    try:
        gate.validate(rows, lazy=True)
    except SchemaErrors as errors:
        return sorted(set(errors.failure_cases["index"].to_list()))
    return []


def _has_nul(column: "Array") -> bool:
    """Return whether a column of texts has a NUL byte anywhere.

    Arrow keeps the texts of a column one after the other in one buffer, and where each of them ends
    in another. So one search through bytes does, without a look at the single texts; of a slice,
    which shares the buffers of its array, only the part between its own first and last end counts.
    """
    if column.type != "string" or not len(column):
        return False
    _, offsets, texts = column.buffers()
    ends = np.frombuffer(offsets, np.int32)
    first, last = ends[column.offset], ends[column.offset + len(column)]
    return b"\0" in texts.slice(first, last - first).to_pybytes()


@lru_cache
def model_of(spec: SourceSpec) -> Model:
    """Return the model of a source; its checks read as documentation, too.

    model_of(SQP_REPORT).reasons(batch)  # {17: ["Marketplace is missing"]}
    """
    rules = contract_of(spec)
    kept = {rule.reason: pl.sql_expr(rule.sql) for rule in rules}
    # A rule that is implied by others says what is wrong, but no row breaks it alone.
    decisive = {rule.reason: kept[rule.reason] for rule in rules if not rule.is_implied}
    of_nul = {rule.reason for rule in rules if rule.is_of_nul}
    without_nul = {reason: rule for reason, rule in decisive.items() if reason not in of_nul}
    columns = {
        column.name: pa.Column(
            nullable=True, title=column.title, description=column.description, required=False
        )
        for column in spec.columns
    }
    return Model(
        schema=pa.DataFrameSchema(columns, checks=[_keeps_all(kept)]),
        # Pandera looks at each column for itself first, which takes longer than all the rules.
        gate=pa.DataFrameSchema(checks=[_keeps_all(decisive)]),
        gate_without_nul=pa.DataFrameSchema(checks=[_keeps_all(without_nul)]),
        kept=kept,
        numbers=[
            pl.col(column.name).cast(pl.Float64)
            for column in spec.columns
            if logical_type(column.type) is LogicalType.NUMBER
        ],
    )


def _keeps_all(kept: dict[str, pl.Expr]) -> pa.Check:
    """Return one check that a row keeps all of some rules."""
    rules = [rule.alias(reason) for reason, rule in kept.items()]

    def keeps_all(data: "PolarsData") -> pl.LazyFrame:
        # Computed here, because Pandera collects the frame that is returned several times. And each
        # rule as a column of its own: to plan one expression of all rules takes Polars longer than
        # to compute them.
        columns = data.lazyframe.collect().select(rules).get_columns()
        # A rule that is null does not apply to the row.
        return reduce(and_, columns).fill_null(value=True).to_frame("kept").lazy()

    return pa.Check(keeps_all, name="no row is refused", description="; ".join(kept))
