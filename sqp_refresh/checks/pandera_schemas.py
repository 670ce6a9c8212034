"""Compare measurements with what they should be: two Pandera schemas over frames of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from sqp_refresh.checks.metrics import Metric

if TYPE_CHECKING:
    from pandera.polars import PolarsData

Case = tuple[Metric, float | int, int | None]
"""A metric with its thresholds, its value in one period, and what the source has."""


def find_failing(cases: Sequence[Case]) -> set[int]:
    """Return the places of those that are not as they should be.

    All are validated at once: one by one, Pandera would take most of the time of a night's checks.
    """
    compared, bounded = [], []
    for place, (metric, value, expected) in enumerate(cases):
        if metric.is_compared:
            compared.append((place, value, expected))
        else:
            bounded.append((place, value, metric.minimum, metric.maximum))
    return _validate(_COMPARED, _COMPARED_COLUMNS, compared) | _validate(
        _BOUNDED, _BOUNDED_COLUMNS, bounded
    )


def _validate(schema: pa.DataFrameSchema, columns: pl.Schema, rows: list[tuple]) -> set[int]:
    """Return the places of the rows that break a schema."""
    frame = pl.DataFrame(rows, columns, orient="row")
    try:
        schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        return set(frame["place"].gather(errors.failure_cases["index"]))
    return set()


def _is_as_expected(data: "PolarsData") -> pl.LazyFrame:
    return data.lazyframe.select(pl.col("value") == pl.col("expected"))


def _is_within(data: "PolarsData") -> pl.LazyFrame:
    value, minimum, maximum = map(pl.col, ("value", "minimum", "maximum"))
    return data.lazyframe.select(
        (value >= minimum).fill_null(value=True) & (value <= maximum).fill_null(value=True)
    )


# Sums of counts are exact as whole numbers, and not as floating point; they may take 128 bits.
_COMPARED = pa.DataFrameSchema(checks=[pa.Check(_is_as_expected, name="equals the source")])
_COMPARED_COLUMNS = pl.Schema({"place": pl.Int64, "value": pl.Int128, "expected": pl.Int128})
_BOUNDED = pa.DataFrameSchema(checks=[pa.Check(_is_within, name="is within its thresholds")])
_BOUNDED_COLUMNS = pl.Schema(
    {"place": pl.Int64, "value": pl.Float64, "minimum": pl.Float64, "maximum": pl.Float64}
)
