"""The contract of each source table as a Pandera model, asked about whole Arrow batches at once."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from sqp_refresh.contract import contract_of
from sqp_refresh.reading import Reading, reading
from sqp_refresh.tables import SourceSpec

if TYPE_CHECKING:
    from pandera.polars import PolarsData
    from pyarrow import RecordBatch


@dataclass(frozen=True, slots=True)
class Model:
    """What is asked of a source's rows.

    Attributes:
        schema: The columns, and whether every rule holds, asked at once: a question each would
            take ten times as long.
        gate: The same without the columns.
        kept: Whether each rule holds, by what is wrong where it does not.
        numbers: The columns of numbers as numbers; BIGNUMERIC comes as text, to stay exact.
    """

    schema: pa.DataFrameSchema
    gate: pa.DataFrameSchema
    kept: dict[str, pl.Expr]
    numbers: list[pl.Expr]

    def reasons(self, batch: "RecordBatch") -> dict[int, list[str]]:
        """What is wrong with each row that breaks a rule, by its place in the batch."""
        rows = pl.DataFrame(batch).with_columns(self.numbers)
        broken = self._broken(rows)
        found: dict[int, list[str]] = {place: [] for place in broken}
        if broken:
            verdicts = rows[broken].select(~kept.alias(why) for why, kept in self.kept.items())
            for verdict in verdicts:
                for place in verdict.arg_true():
                    found[broken[place]].append(verdict.name)
        return found

    def _broken(self, rows: pl.DataFrame) -> list[int]:
        try:
            self.gate.validate(rows, lazy=True)
        except SchemaErrors as errors:
            return sorted(set(errors.failure_cases["index"].to_list()))
        return []


@lru_cache
def model_of(spec: SourceSpec) -> Model:
    """The model of a source table."""
    kept = {rule.reason: pl.sql_expr(rule.sql) for rule in contract_of(spec)}
    # A rule that is null does not speak of the row.
    all_kept = pl.all_horizontal(*kept.values()).fill_null(value=True)

    def keeps_all(data: "PolarsData") -> pl.LazyFrame:
        return data.lazyframe.select(all_kept.alias("kept"))

    schema = pa.DataFrameSchema(
        {
            column.name: pa.Column(
                nullable=True, title=column.title, description=column.about, required=False
            )
            for column in spec.columns
        },
        checks=[pa.Check(keeps_all, name="no row is refused", description="; ".join(kept))],
    )
    return Model(
        schema,
        # To ask of each column alone whether it is there takes longer than the question itself.
        schema.remove_columns(list(schema.columns)),
        kept,
        [
            pl.col(column.name).cast(pl.Float64)
            for column in spec.columns
            if reading(column.type) is Reading.NUMBER
        ],
    )
