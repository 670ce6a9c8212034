from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from sqp_refresh.errors import DataError
from sqp_refresh.extract.conform import RowShape
from sqp_refresh.extract.convert import convert
from sqp_refresh.extract.source import Source
from sqp_refresh.tables import (
    COUNT,
    DATE,
    PERCENT,
    PRICE,
    SEARCH_QUERY_PERFORMANCE,
    SOURCE_COLUMNS,
    SQP_REPORT,
    TEXT,
)


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array(["12", " 7 ", None]), COUNT, [12, 7, None]),
        (pa.array([3.0, None]), COUNT, [3, None]),
        (pa.array([Decimal("3.000000000")], pa.decimal128(38, 9)), COUNT, [3]),
        (pa.array(["1.14", " 0.5", None]), PERCENT, [1.14, 0.5, None]),
        (pa.array([7, None], pa.int64()), PERCENT, [7, None]),
        (pa.array([Decimal("19.99")], pa.decimal128(38, 9)), PRICE, [Decimal("19.99")]),
        (pa.array([Decimal("1.5")], pa.decimal256(76, 38)), PRICE, ["1.5" + "0" * 37]),
        (pa.array(["a", None]), TEXT, ["a", None]),
        (
            pa.array([datetime(2024, 8, 18, tzinfo=UTC)], pa.timestamp("us", "UTC")),
            DATE,
            [date(2024, 8, 18)],
        ),
        (
            pa.array([datetime(2024, 8, 18, 23, 59, 59)], pa.timestamp("us")),
            DATE,
            [date(2024, 8, 18)],
        ),
        (pa.array([date(2024, 8, 18)], pa.date32()), DATE, [date(2024, 8, 18)]),
    ],
)
def test_values_keep_their_worth(array, kind, expected):
    assert convert(array, kind, "x").to_pylist() == expected


@pytest.mark.parametrize(
    ("array", "kind", "words"),
    [
        (pa.array(["12,5"]), COUNT, "whole number"),
        (pa.array(["12.5"]), COUNT, "whole number"),
        (pa.array([""]), COUNT, "whole number"),
        (pa.array([0.5]), COUNT, "whole number"),
        (pa.array([1e30]), COUNT, "whole number"),
        (pa.array(["12,5"]), PRICE, "a number"),
        (pa.array([""]), PERCENT, "a number"),
        (pa.array([float("nan")]), PERCENT, "NaN or Infinity"),
        (pa.array(["Infinity"]), PRICE, "NaN or Infinity"),
    ],
)
def test_what_is_no_number_is_refused_by_name_and_never_becomes_zero(array, kind, words):
    with pytest.raises(DataError, match=f"'Total Click Count'.*{words}"):
        convert(array, kind, "Total Click Count")


def rows(**columns: list) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict(columns)


def shape(without: tuple[str, ...] = ()) -> RowShape:
    types = {
        column.title: {COUNT: "INTEGER", PERCENT: "FLOAT", PRICE: "NUMERIC", DATE: "DATE"}.get(
            column.type, "STRING"
        )
        for column in SOURCE_COLUMNS
        if column.title not in without
    }
    return RowShape(
        Source("p.d.t", SQP_REPORT, types, datetime.now(UTC)), SEARCH_QUERY_PERFORMANCE, "DE"
    )


def source_batch(without: tuple[str, ...] = (), **values: object) -> pa.RecordBatch:
    defaults = {TEXT: "x", DATE: date(2024, 8, 18), COUNT: 1, PERCENT: 1.0, PRICE: Decimal(1)}
    return pa.RecordBatch.from_pylist(
        [
            {
                column.title: values.get(column.name, defaults[column.type])
                for column in SOURCE_COLUMNS
                if column.title not in without
            }
        ]
    )


def test_the_parent_stands_in_only_where_the_child_is_null():
    child = shape()(source_batch(asin="CHILD", parent_asin="PARENT"))
    orphan = shape()(source_batch(asin=None, parent_asin="PARENT"))

    assert child["asin"].to_pylist() == ["CHILD"]
    assert orphan["asin"].to_pylist() == ["PARENT"]


def test_a_missing_marketplace_is_the_one_of_the_settings():
    without = ("Marketplace",)

    assert shape(without)(source_batch(without))["marketplace"].to_pylist() == ["DE"]


def test_a_marketplace_that_is_there_is_kept():
    assert shape()(source_batch(marketplace="US"))["marketplace"].to_pylist() == ["US"]


def test_an_empty_batch_has_the_columns_of_a_full_one():
    full = shape()(source_batch(asin="A", parent_asin="B"))
    empty = shape()(source_batch(asin="A", parent_asin="B").slice(0, 0))

    assert empty.schema == full.schema
