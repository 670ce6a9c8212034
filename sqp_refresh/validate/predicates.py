"""What each metric must be, as a Pandera schema over a frame with one row for each period."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaErrors

from sqp_refresh.validate.metrics import Metric

if TYPE_CHECKING:
    from pandera.polars import PolarsData


def failing(
    metric: Metric, values: Sequence[float | int | None], expected: Sequence[int | None]
) -> list[int]:
    """The places of the values that are not as they should be.

    Args:
        metric: The metric, with its thresholds.
        values: Its value in each period.
        expected: What the source says of the same periods, where the metric is compared with it.
    """
    # Sums of counts are exact as whole numbers, and not as floating point.
    number = pl.Int64 if metric.is_compared else pl.Float64
    frame = pl.DataFrame(
        {"value": values, "expected": expected}, schema={"value": number, "expected": pl.Int64}
    )
    try:
        _predicate(metric).validate(frame, lazy=True)
    except SchemaErrors as errors:
        return sorted(set(errors.failure_cases["index"].to_list()))
    return []


def _predicate(metric: Metric) -> pa.DataFrameSchema:
    if metric.is_compared:
        return pa.DataFrameSchema(checks=[pa.Check(_equals_expected, name=metric.check)])
    checks = []
    if metric.minimum is not None:
        checks.append(pa.Check.ge(metric.minimum, name=metric.check))
    if metric.maximum is not None:
        checks.append(pa.Check.le(metric.maximum, name=metric.check))
    return pa.DataFrameSchema({"value": pa.Column(pl.Float64, checks)})


def _equals_expected(data: "PolarsData") -> pl.LazyFrame:
    return data.lazyframe.select(pl.col("value") == pl.col("expected"))
