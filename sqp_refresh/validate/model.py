"""The contract of each source table as a Pandera model, asked about whole Arrow batches at once."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from sqp_refresh.contract import Rule, contract_of
from sqp_refresh.reading import Reading, reading
from sqp_refresh.tables import SourceSpec

if TYPE_CHECKING:
    from pandera.polars import PolarsData
    from pyarrow import RecordBatch

# One question for all rules is an order of magnitude cheaper than one question each.
_ALL = "every rule"


@dataclass(frozen=True, slots=True)
class Model:
    """What is asked of a source's rows.

    Attributes:
        gate: Whether every rule holds; which rows it fails for.
        rules: The same rules one by one, to say of those rows what is wrong.
        numbers: The columns of numbers as numbers; BIGNUMERIC comes as text, to stay exact.
    """

    gate: pa.DataFrameSchema
    rules: pa.DataFrameSchema
    numbers: list[pl.Expr]

    def reasons(self, batch: "RecordBatch") -> dict[int, list[str]]:
        """What is wrong with each row that breaks a rule, by its place in the batch."""
        rows = pl.DataFrame(batch).with_columns(self.numbers)
        broken = sorted({place for place, _ in _failures(self.gate, rows)})
        found: dict[int, list[str]] = {place: [] for place in broken}
        if broken:
            for place, reason in _failures(self.rules, rows[broken]):
                found[broken[place]].append(reason)
        return found


@lru_cache
def model_of(spec: SourceSpec) -> Model:
    """The model of a source table."""
    rules = contract_of(spec)
    columns = {
        column.name: pa.Column(
            nullable=True, title=column.title, description=column.about, required=False
        )
        for column in spec.columns
    }
    every = pl.all_horizontal(*map(_kept, rules))
    return Model(
        pa.DataFrameSchema(checks=[_check(_ALL, every)]),
        pa.DataFrameSchema(columns, checks=[_check(rule.reason, _kept(rule)) for rule in rules]),
        [
            pl.col(column.name).cast(pl.Float64)
            for column in spec.columns
            if reading(column.type) is Reading.NUMBER
        ],
    )


def _kept(rule: Rule) -> pl.Expr:
    # A rule that is null does not speak of the row.
    return pl.sql_expr(rule.sql).fill_null(value=True)


def _check(name: str, kept: pl.Expr) -> pa.Check:
    def judged(data: "PolarsData") -> pl.LazyFrame:
        return data.lazyframe.select(kept.alias("kept"))

    return pa.Check(judged, name=name)


def _failures(schema: pa.DataFrameSchema, rows: pl.DataFrame) -> list[tuple[int, str]]:
    try:
        schema.validate(rows, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        return list(zip(cases["index"].to_list(), cases["check"].to_list(), strict=True))
    return []
