from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from sqp_refresh.errors import DataError
from sqp_refresh.model.tables import COUNT, DATE, PERCENT, PRICE, SOURCE_COLUMNS, SQP_REPORT, TEXT
from sqp_refresh.model.types import cast, try_cast
from sqp_refresh.validate.conform import Conformed, conform


@pytest.mark.parametrize(
    ("array", "kind", "expected"),
    [
        (pa.array(["12", " 7 ", None]), COUNT, [12, 7, None]),
        (pa.array([3.0, None]), COUNT, [3, None]),
        # So pandas writes the whole numbers of a column with a null.
        (pa.array(["200.0", " 7. ", "-0.000", None]), COUNT, [200, 7, 0, None]),
        (pa.array([f"{2**63 - 1}.0", f"-{2**63}.0"]), COUNT, [2**63 - 1, -(2**63)]),
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
    assert cast(array, kind, "x").to_pylist() == expected


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
        cast(array, kind, "Total Click Count")


@pytest.mark.parametrize(
    ("array", "kind", "kept"),
    [
        (pa.array(["12", "12,5", None]), COUNT, [12, None, None]),
        (pa.array([1.0, 0.5, 1e30, float("nan")]), COUNT, [1, None, None, None]),
        (pa.array(["200.0", "200.5", "2e2", f"{2**63}.0"]), COUNT, [200, None, None, None]),
        (pa.array(["1", "", "NaN", "Infinity", "1,000"]), COUNT, [1, None, None, None, None]),
        (pa.array(["0.5", "NaN", "-Infinity", ""]), PERCENT, [0.5, None, None, None]),
        (pa.array([b"fine", b"\xff\xfe"]).view(pa.string()), TEXT, ["fine", None]),
        (pa.array([b"7", b"\xed\xa0\x80"]).view(pa.string()), COUNT, [7, None]),
    ],
)
def test_what_cannot_be_read_is_null_and_told_apart_from_what_is_null(array, kind, kept):
    values, lost = try_cast(array, kind)

    assert values.to_pylist() == kept
    assert lost is not None
    # Bytes that are no UTF-8 cannot be made into texts.
    sent = array.cast(pa.binary()) if pa.types.is_string(array.type) else array
    assert lost.to_pylist() == [
        value is not None and cast_value is None
        for value, cast_value in zip(sent.to_pylist(), kept, strict=True)
    ]


def conformed(batch: pa.RecordBatch) -> Conformed:
    return conform(SQP_REPORT, batch, {"Marketplace": "DE"})


def source_batch(without: tuple[str, ...] = (), **values: object) -> pa.RecordBatch:
    samples = {TEXT: "x", DATE: date(2024, 8, 18), COUNT: 1, PERCENT: 1.0, PRICE: Decimal(1)}
    return pa.RecordBatch.from_pydict(
        {
            column.title: pa.array(
                [values.get(column.name, samples[column.type])],
                pa.scalar(samples[column.type]).type,
            )
            for column in SOURCE_COLUMNS
            if column.title not in without
        }
    )


@pytest.mark.parametrize("missing", [None, "", " \t\r\n"])
def test_the_parent_stands_in_only_where_the_child_is_missing(missing):
    child = conformed(source_batch(asin="CHILD", parent_asin="PARENT")).rows
    orphan = conformed(source_batch(asin=missing, parent_asin="PARENT")).rows

    assert child["asin"].to_pylist() == ["CHILD"]
    assert orphan["asin"].to_pylist() == ["PARENT"]


@pytest.mark.parametrize("name", ["product_title", "brand", "category", "parent_asin"])
@pytest.mark.parametrize("missing", [None, "", " ", "\r\n\t"])
def test_a_text_without_a_letter_is_as_missing_as_a_null(name, missing):
    assert conformed(source_batch((), **{name: missing})).rows[name].to_pylist() == [None]
    assert conformed(source_batch((), **{name: " a "})).rows[name].to_pylist() == [" a "]


def test_a_missing_marketplace_is_the_one_of_the_settings():
    batch = source_batch(("Marketplace",))

    assert conformed(batch).rows["marketplace"].to_pylist() == ["DE"]


def test_a_marketplace_that_is_there_is_kept():
    assert conformed(source_batch(marketplace="US")).rows["marketplace"].to_pylist() == ["US"]


def test_a_column_is_found_in_any_case():
    batch = source_batch(asin="A")
    shouted = batch.rename_columns([name.upper() for name in batch.schema.names])

    assert conformed(shouted).rows.equals(conformed(batch).rows)


def test_an_empty_batch_has_the_columns_of_a_full_one():
    batch = source_batch(asin="A", parent_asin="B")

    assert conformed(batch.slice(0, 0)).rows.schema == conformed(batch).rows.schema
