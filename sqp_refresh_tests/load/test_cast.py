"""Rows cast to their target's types are what Postgres itself would have made of them."""

from dataclasses import replace
from datetime import date
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sqp_refresh.errors import DataError
from sqp_refresh.load.cast import cast_batch, target_schema
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.tables import PERCENT, SEARCH_QUERY_PERFORMANCE, Column, Table

WEEK = Period.week_of(date(2025, 8, 10))

# As close to a middle between two places as doubles come, and whatever else fits.
middles = st.builds(
    lambda places, steps: (places + 0.5) / 10_000 * (1 + steps * 2**-52),
    st.integers(-(10**9), 10**9),
    st.integers(-40, 40),
)
numbers = st.none() | middles | st.floats(-999_999, 999_999) | st.floats(-1e-3, 1e-3)


def table_of(*columns: Column) -> Table:
    return replace(SEARCH_QUERY_PERFORMANCE, grain=Grain.TABLE, key=(), values=columns)


def one_column(type_: str) -> Table:
    return table_of(Column("n", type_, "a number"))


def cast(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    schema = target_schema(table, batch.schema)
    assert schema is not None
    return cast_batch(schema, WEEK, batch)


@given(st.lists(numbers, min_size=1, max_size=50))
@example([0.005, -0.00005, 0.00015, 1.00005, 1234.56785, 2.675, 1.005, None])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_double_is_rounded_as_postgres_rounds_it(migrated_database, values):
    batch = pa.RecordBatch.from_pydict({"n": pa.array(values, pa.float64())})

    ours = cast(one_column(PERCENT), batch).column("n").to_pylist()

    with psycopg.connect(migrated_database) as connection:
        query = (
            "SELECT array_agg(n::numeric(10,4) ORDER BY place)"
            " FROM unnest(%s::float8[]) WITH ORDINALITY AS _ (n, place)"
        )
        (theirs,) = connection.execute(query, (values,)).fetchone() or (None,)
    assert ours == theirs


@given(st.lists(st.decimals(-(10**5), 10**5, places=9), min_size=1, max_size=20))
@example([Decimal("0.000050000"), Decimal("-0.000150000"), Decimal("0.000149999")])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_decimal_is_rounded_as_postgres_rounds_it(migrated_database, values):
    batch = pa.RecordBatch.from_pydict({"n": pa.array(values, pa.decimal128(38, 9))})

    ours = cast(one_column(PERCENT), batch).column("n").to_pylist()

    with psycopg.connect(migrated_database) as connection:
        theirs = [
            connection.execute("SELECT %s::numeric(10,4)", (value,)).fetchone() for value in values
        ]
    assert ours == [value for (value,) in filter(None, theirs)]


@pytest.mark.parametrize(
    ("type_", "is_exact"),
    [
        ("numeric(18,6)", True),
        ("numeric(30,20)", False),
        ("numeric", False),
        ("double precision", True),
        ("real", False),
        ("bigint", False),
    ],
)
def test_what_has_no_exact_form_is_left_to_postgres(type_, is_exact):
    schema = pa.schema([("n", pa.float64())])

    assert (target_schema(one_column(type_), schema) is not None) == is_exact


def test_a_column_that_was_not_read_is_left_to_postgres():
    table = table_of(Column("n", "bigint", "a number"), Column("m", "bigint", "another"))

    assert target_schema(table, pa.schema([("n", pa.int64())])) is None


@pytest.mark.parametrize(
    ("column", "day"),
    [
        ("start_date", WEEK.start),
        ("end_date", WEEK.end),
        ("period_start", WEEK.start),
        ("period_end", WEEK.end),
    ],
)
def test_every_row_has_the_days_of_its_period(column, day):
    table = table_of(Column(column, "date", "a day"), Column("n", "bigint", "a number"))

    rows = cast(table, pa.RecordBatch.from_pydict({"n": [1, 2]}))

    assert rows.to_pydict() == {column: [day, day], "n": [1, 2]}


@pytest.mark.parametrize("number", [1e6, -1e14, 1e300])
def test_a_number_too_large_for_its_column_is_an_error_that_names_it(number):
    with pytest.raises(DataError, match=r"column 'n': .*too large"):
        cast(one_column(PERCENT), pa.RecordBatch.from_pydict({"n": [number]}))
