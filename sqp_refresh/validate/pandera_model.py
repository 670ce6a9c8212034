"""The contract of each source table as a Pandera model, asked about whole Arrow batches at once."""

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
    """What is asked of a source's rows.

    Attributes:
        schema: The columns, and whether every rule holds, asked at once: a question each would
            take ten times as long.
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
        """What is wrong with each row that breaks a rule, by its place in the batch."""
        rows = pl.DataFrame(batch).with_columns(self.numbers)
        gate = self.gate if any(map(_holds_nul, batch.columns)) else self.gate_without_nul
        broken = _broken(gate, rows)
        found: dict[int, list[str]] = {place: [] for place in broken}
        if broken:
            verdicts = rows[broken].select(~kept.alias(why) for why, kept in self.kept.items())
            for verdict in verdicts:
                for place in verdict.arg_true():
                    found[broken[place]].append(verdict.name)
        return found


def _broken(gate: pa.DataFrameSchema, rows: pl.DataFrame) -> list[int]:
    try:
        gate.validate(rows, lazy=True)
    except SchemaErrors as errors:
        return sorted(set(errors.failure_cases["index"].to_list()))
    return []


def _holds_nul(column: "Array") -> bool:
    """Whether a column of texts has a NUL byte anywhere; its values lie one after the other."""
    if column.type != "string" or not len(column):
        return False
    _, offsets, texts = column.buffers()
    ends = np.frombuffer(offsets, np.int32)
    first, last = ends[column.offset], ends[column.offset + len(column)]
    return b"\0" in texts.slice(first, last - first).to_pybytes()


@lru_cache
def model_of(spec: SourceSpec) -> Model:
    """The model of a source table."""
    rules = contract_of(spec)
    kept = {rule.reason: pl.sql_expr(rule.sql) for rule in rules}
    columns = {
        column.name: pa.Column(
            nullable=True, title=column.title, description=column.description, required=False
        )
        for column in spec.columns
    }
    decisive = [rule.reason for rule in rules if not rule.is_implied]
    of_nul = [rule.reason for rule in rules if rule.is_of_nul]
    return Model(
        pa.DataFrameSchema(columns, checks=[_keeps_all(kept)]),
        # To ask of each column alone whether it is there takes longer than the question itself.
        pa.DataFrameSchema(checks=[_keeps_all({why: kept[why] for why in decisive})]),
        pa.DataFrameSchema(
            checks=[_keeps_all({why: kept[why] for why in decisive if why not in of_nul})]
        ),
        kept,
        [
            pl.col(column.name).cast(pl.Float64)
            for column in spec.columns
            if logical_type(column.type) is LogicalType.NUMBER
        ],
    )


def _keeps_all(kept: dict[str, pl.Expr]) -> pa.Check:
    each = [one.alias(why) for why, one in kept.items()]

    def keeps_all(data: "PolarsData") -> pl.LazyFrame:
        # Computed here: Pandera asks for it several times. And each rule alone: to plan one
        # expression of them all would take longer than their answers.
        answers = data.lazyframe.collect().select(each).get_columns()
        # A rule that is null does not speak of the row.
        return reduce(and_, answers).fill_null(value=True).to_frame("kept").lazy()

    return pa.Check(keeps_all, name="no row is refused", description="; ".join(kept))
