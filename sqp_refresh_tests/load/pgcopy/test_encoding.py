"""What is sent by COPY arrives as it was, whatever its type, wherever a null stands."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sqp_refresh.errors import DataError, SchemaMismatch
from sqp_refresh.load.copy import STAGING, stage
from sqp_refresh.postgres.session import Session

ANY_DIGITS = st.integers(1, 38).flatmap(lambda p: st.tuples(st.just(p), st.integers(0, p)))
WIDE = Context(prec=40)
VALUES: dict[pa.DataType, st.SearchStrategy] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(),
    pa.string(): st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    pa.date32(): st.dates(),
    pa.bool_(): st.booleans(),
    pa.timestamp("us", "UTC"): st.datetimes(timezones=st.just(UTC)),
}


def sent(session: Session, array: pa.Array) -> list:
    """Return what Postgres has of an array once it was sent, in its order."""
    places = pa.array(range(len(array)), pa.int64())
    batch = pa.RecordBatch.from_arrays([places, array], ["place", "value"])
    with session.transaction():
        # A slice begins in the middle of its buffers.
        copied = stage(session, batch.schema, [batch.slice(0, 1), batch.slice(1)])
        ordered = sql.SQL("SELECT value FROM {} ORDER BY place").format(sql.Identifier(STAGING))
        values = [value for (value,) in session.fetch_all(ordered)]
    assert copied == len(array)
    return values


def plain(value: object) -> str:
    """Return a text equal to no other value's: not to another zero's, nor in another zone."""
    return repr(value.astimezone(UTC) if isinstance(value, datetime) else value)


@pytest.mark.parametrize("type_", VALUES, ids=str)
def test_every_value_of_a_type_arrives(session, type_):
    @given(st.lists(st.none() | VALUES[type_], min_size=1, max_size=20))
    @example([None])
    @settings(max_examples=50)
    def arrives(values):
        array = pa.array(values, type_)
        assert list(map(plain, sent(session, array))) == list(map(plain, array.to_pylist()))

    arrives()


@given(ANY_DIGITS, st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_decimal_arrives_with_every_digit_and_its_places(session, digits, data):
    precision, scale = digits
    most = 10**precision - 1
    numbers = st.integers(-most, most) | st.sampled_from([0, most, -most, 1, -1])
    wholes = data.draw(st.lists(st.none() | numbers, min_size=1, max_size=20))
    values = [None if whole is None else Decimal(whole).scaleb(-scale, WIDE) for whole in wholes]

    array = pa.array(values, pa.decimal128(precision, scale))

    assert list(map(str, sent(session, array))) == list(map(str, array.to_pylist()))


def test_the_ends_of_each_type_arrive(session):
    ends = [
        pa.array([date.min, date(1999, 12, 31), date(2000, 1, 1), date.max]),
        pa.array([datetime(1999, 12, 31, 23, 59, 59, 999_999, UTC)], pa.timestamp("us", "UTC")),
        pa.array(["", None, "ü", "𝄞" * 10_000]),
    ]

    for array in ends:
        assert sent(session, array) == array.to_pylist()


def test_a_character_that_postgres_has_not_is_an_error_of_the_data(session):
    with pytest.raises(DataError, match="invalid byte sequence"):
        sent(session, pa.array(["a\0b"]))


def test_a_type_without_an_equal_is_named(session):
    with pytest.raises(SchemaMismatch, match="column 'value' has the Arrow type float, not one"):
        sent(session, pa.array([1.0], pa.float32()))


def test_what_making_a_batch_raises_is_raised_and_nothing_is_copied(session):
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict({"value": [1]})
        raise DataError("the source broke")

    schema = pa.schema([("value", pa.int64())])
    with pytest.raises(DataError, match=r"^the source broke$"), session.transaction():
        stage(session, schema, broken())

    with session.transaction():
        assert stage(session, schema, [pa.RecordBatch.from_pydict({"value": [2]})]) == 1
