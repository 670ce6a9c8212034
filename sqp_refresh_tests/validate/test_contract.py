"""What the contract accepts: Amazon's rounding, and whatever else is odd but true."""

import re
from decimal import Decimal
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.model.contract import Rule, contract_of, decisive_rules
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.rows import SourceBatches
from sqp_refresh.model.tables import (
    SEARCH_QUERY_PERFORMANCE,
    SHARES,
    SQP_REPORT,
    TEXT,
    Column,
    Origin,
    SourceColumn,
    SourceSpec,
    Table,
)
from sqp_refresh.validate.pandera_model import model_of
from sqp_refresh.validate.row_validator import RowValidator
from sqp_refresh_tests.helpers.rows import Row, row, source_table


def refused(table: Table, batch: pa.RecordBatch) -> list[list[str]]:
    validator = RowValidator(table, SourceBatches(batch.schema, [batch], {"Marketplace": "US"}))
    validator.batches().read_all()
    assert validator.read == batch.num_rows
    return [reasons for _, reasons in validator.invalid_rows]


def reasons_of(*rows: Row) -> list[list[str]]:
    (batch,) = source_table(rows).to_batches()
    return refused(SEARCH_QUERY_PERFORMANCE, batch)


@pytest.mark.parametrize(
    "accepted",
    [
        row({"ASIN Impression Share": 1.14}, impressions=(20_110, 230)),
        row({"ASIN Click Share": 0.92}, clicks=(542, 5)),
        row({"Total Click Rate": 34.21}, volume=266, clicks=(91, 0)),
        row({"Total Cart Add Rate": 22.18, "Total Purchase Rate": 11.28}, volume=266),
        row({"ASIN Impression Share": 0.1}, impressions=(8405, 8)),
        row({"ASIN Cart Add Share": 0.0}, cart_adds=(11, 0)),
        row({"ASIN Cart Add Share": None}, cart_adds=(0, 0)),
        row({"ASIN Cart Add Share": 0.0}, cart_adds=(0, 0)),
        row({"Total Click Rate": 340.21, "Total Purchase Rate": 100.01}, volume=2),
        row({"ASIN Impression Share": 100.0}, impressions=(7, 7)),
        row(impressions=(1, 1), clicks=(9_999, 9_999)),
        row(impressions=(0, 0), clicks=(20_000, 20_000)),
        row({"Total Query Impression Count": None, "ASIN Impression Share": None}),
        row({"ASIN Median Click Price Amount": Decimal("0.01")}),
        row(query="date"),
        row(query="x" * 800),
        row(query="鞋 café 🦄 \\x00 'quoted' \"twice\""),
        row({"Parent ASIN": None, "Client Name": None, "Product Name": None, "Category": None}),
        row({"Child ASIN": None}),
        row({"Search Query Score": None, "Total Click Count": None, "ASIN Click Share": None}),
    ],
)
def test_what_is_odd_but_true_is_accepted(accepted):
    assert reasons_of(accepted) == []


@pytest.mark.parametrize("off", [0.0099, -0.0099])
def test_a_share_may_be_off_by_a_hundredth_of_a_point(off):
    exact = 100 * 230 / 20_110
    assert reasons_of(row({"ASIN Impression Share": exact + off})) == []
    assert reasons_of(row({"ASIN Impression Share": exact + 3 * off})) != []


ASINS = (
    st.text()
    | st.from_regex("[A-Z0-9]{10}", fullmatch=True)
    | st.sampled_from(["", " \n", "B0000000\x001", "ASIN", "x" * 801, "B000000001\n"])
)
FIGURES = st.floats(width=32) | st.floats(-150, 150)
VALUES = {"asin": ASINS, **dict.fromkeys(SHARES, FIGURES)}
IMPLIED = [rule for rule in contract_of(SQP_REPORT) if rule.is_implied]
assert IMPLIED


def column_of(rule: Rule) -> str:
    (name,) = set(re.findall("`(.*?)`", rule.sql)) & VALUES.keys()
    return name


@pytest.mark.parametrize("implied", IMPLIED, ids=lambda rule: rule.reason)
def test_a_rule_that_decides_nothing_is_broken_along_with_one_that_does(implied):
    name = column_of(implied)
    decisive = [
        rule
        for rule in decisive_rules(SQP_REPORT)
        if set(re.findall("`(.*?)`", rule.sql)) == {name}
    ]

    @given(VALUES[name])
    def holds(value):
        frame = pl.DataFrame({name: [value]})

        def is_broken(rule: Rule) -> bool:
            return frame.select(pl.sql_expr(rule.sql)).item() is False

        assert any(map(is_broken, decisive)) or not is_broken(implied)

    holds()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_nul_byte_is_found_wherever_it_stands(place):
    rows = [row(query="blue widget") for _ in range(3)]
    rows[place] |= {"Category": "widgets\x00"}
    (batch,) = source_table(rows).to_batches()

    for first in range(3):
        expected = [["Category holds a NUL byte"]] if first <= place else []
        assert refused(SEARCH_QUERY_PERFORMANCE, batch.slice(first)) == expected
    assert not refused(SEARCH_QUERY_PERFORMANCE, batch.slice(0, place))


def test_a_model_can_be_read_as_documentation():
    spec = SEARCH_QUERY_PERFORMANCE.source
    assert spec is not None
    schema = model_of(spec).schema

    assert [column.title for column in schema.columns.values()] == [
        column.title for column in spec.columns
    ]
    assert schema.checks is not None
    (check,) = schema.checks
    for rule in contract_of(spec):
        assert rule.reason in check.description


def test_numbers_too_long_for_a_decimal_are_judged_too():
    delivered = source_table([row(), row({"ASIN Click Share": 55.0}), row(price="0")])
    wide = pa.decimal256(76, 38)
    for title in ("ASIN Click Share", "ASIN Median Click Price Amount"):
        place = delivered.schema.get_field_index(title)
        values = [
            None if number is None else Decimal(str(number))
            for number in delivered[title].to_pylist()
        ]
        delivered = delivered.set_column(place, title, pa.array(values, wide))
    (batch,) = delivered.to_batches()

    assert refused(SEARCH_QUERY_PERFORMANCE, batch) == [
        ["ASIN Click Share is not 100 * ASIN Click Count / Total Click Count"],
        [
            f"ASIN Median {stage} Price Amount is not above 0"
            for stage in ("Click", "Cart Add", "Purchase")
        ],
    ]


def registered(type_: str) -> Table:
    """A table that an operator registered: a text as key, and one value."""
    columns = (SourceColumn("Key", "key", TEXT, ""), SourceColumn("Value", "value", type_, ""))
    key, value = (column.target for column in columns)
    return Table(
        name="registered",
        row="",
        origin=Origin.SOURCE_ROWS,
        grain=Grain.TABLE,
        scope=None,
        key=(key,),
        values=(Column(value.name, type_, ""),),
        priority=0,
        source=SourceSpec(columns, None, ("key",), "registered"),
    )


@pytest.mark.parametrize(
    ("type_", "fits", "does_not"),
    [
        ("smallint", [32767, -32768], [32768]),
        ("integer", [2**31 - 1], [2**31, -(2**31) - 1]),
        ("numeric(3,2)", [9.99, -9.99], [9.995, 10.0, -11.0]),
        ("numeric(4,4)", [0.5, 0.9999], [1.0]),
        ("numeric(5,0)", [99_999.0], [100_000.0]),
        ("numeric(38,9)", [1e28], [1e29, 1e300]),
        ("numeric(38,9)", [2**62, -(2**63)], []),
        ("numeric", [1e300], []),
        ("real", [0.0, 1.5, -3e38], [1e39, 1e-46]),
        ("character varying(3)", ["abc", "鞋鞋鞋"], ["abcd"]),
        (TEXT, ["", " ", "Key"], ["Value", "a\0"]),
    ],
)
def test_a_registered_table_takes_what_its_columns_have_room_for(type_, fits, does_not):
    values: list[Any] = [*fits, *does_not, None]
    batch = pa.RecordBatch.from_pydict(
        {"Key": [f"k{place}" for place in range(len(values))], "Value": values}
    )

    assert len(refused(registered(type_), batch)) == len(does_not)
