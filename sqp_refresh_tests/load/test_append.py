"""What goes straight into its table is what Postgres itself would have made of it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sqp_refresh.errors import DataError
from sqp_refresh.load.append import encode_ahead
from sqp_refresh.load.cast import exact_schema, exactly
from sqp_refresh.load.merge import publish
from sqp_refresh.load.result import Counts, NeedsMerge
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.rows import PeriodRows
from sqp_refresh.model.tables import PERCENT, SEARCH_QUERY_PERFORMANCE, Column, Table
from sqp_refresh.model.types import nulls
from sqp_refresh.postgres.session import Session, connect

WEEK = Period.week_of(date(2025, 8, 10))
TABLE = SEARCH_QUERY_PERFORMANCE
READ = [column for column in TABLE.columns if column.name not in ("start_date", "end_date")]
SCHEMA = pa.schema([(column.name, nulls(0, column.type).type) for column in READ])

# As close to a middle between two places as doubles come, and whatever else fits.
middles = st.builds(
    lambda places, steps: (places + 0.5) / 10_000 * (1 + steps * 2**-52),
    st.integers(-(10**9), 10**9),
    st.integers(-40, 40),
)
numbers = st.none() | middles | st.floats(-999_999, 999_999) | st.floats(-1e-3, 1e-3)


@pytest.fixture
def session(migrated_database) -> Iterator[Session]:
    with connect(migrated_database) as session:
        yield session


KEY = {"marketplace": "US", "asin": "A"}


def part(*rows: dict) -> PeriodRows:
    default = dict.fromkeys(SCHEMA.names) | KEY
    batch = pa.RecordBatch.from_pylist([default | row for row in rows], SCHEMA)
    return PeriodRows(WEEK, pa.RecordBatchReader.from_batches(SCHEMA, [batch]))


def one_column(type_: str) -> Table:
    return replace(TABLE, grain=Grain.TABLE, key=(), values=(Column("n", type_, "a number"),))


@given(st.lists(numbers, min_size=1, max_size=50))
@example([0.005, -0.00005, 0.00015, 1.00005, 1234.56785, 2.675, 1.005, None])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_double_is_rounded_as_postgres_rounds_it(migrated_database, values):
    batch = pa.RecordBatch.from_pydict({"n": pa.array(values, pa.float64())})
    schema = exact_schema(one_column(PERCENT), WEEK, batch.schema)
    assert schema is not None

    ours = exactly(schema, WEEK, batch).column("n").to_pylist()

    with psycopg.connect(migrated_database) as connection:
        asked = "SELECT array_agg(n::numeric(10,4) ORDER BY place) FROM unnest(%s::float8[])"
        (theirs,) = connection.execute(
            asked + " WITH ORDINALITY AS given (n, place)", (values,)
        ).fetchone() or (None,)
    assert ours == theirs


@given(st.lists(st.decimals(-(10**5), 10**5, places=9), min_size=1, max_size=20))
@example([Decimal("0.000050000"), Decimal("-0.000150000"), Decimal("0.000149999")])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_decimal_is_rounded_as_postgres_rounds_it(migrated_database, values):
    batch = pa.RecordBatch.from_pydict({"n": pa.array(values, pa.decimal128(38, 9))})
    schema = exact_schema(one_column(PERCENT), WEEK, batch.schema)
    assert schema is not None

    ours = exactly(schema, WEEK, batch).column("n").to_pylist()

    with psycopg.connect(migrated_database) as connection:
        theirs = [
            connection.execute("SELECT %s::numeric(10,4)", (value,)).fetchone() for value in values
        ]
    assert ours == [value for (value,) in filter(None, theirs)]


@pytest.mark.parametrize(
    ("type_", "goes"),
    [
        ("numeric(18,6)", True),
        ("numeric(30,20)", False),
        ("numeric", False),
        ("double precision", True),
        ("real", False),
        ("bigint", False),
    ],
)
def test_what_has_no_exact_form_is_left_to_postgres(type_, goes):
    read = pa.schema([("n", pa.float64())])

    assert (exact_schema(one_column(type_), WEEK, read) is not None) == goes


@pytest.mark.parametrize("number", [1e6, -1e14, 1e300])
def test_a_number_too_large_for_its_column_stops_the_week(session, number):
    rows = part({"search_query": "a"}, {"search_query": "b", "total_click_rate": number})

    with pytest.raises(DataError, match=r"overflow|too large"), session.transaction():
        publish(session, TABLE, rows)


def test_a_new_week_is_what_staging_would_have_made_of_it(session, migrated_database):
    rows = [
        {"search_query": f"query {n}", "total_click_rate": n / 7, "asin_click_count": n}
        for n in range(3_000)
    ]
    with session.transaction():
        straight = publish(session, TABLE, part(*rows))
    with session.transaction():
        compared = publish(session, TABLE, part(*rows), whole=True)

    assert straight.counts == Counts(read=3_000, inserted=3_000)
    assert compared.counts == Counts(read=3_000, unchanged=3_000)
    assert straight.fingerprints == compared.fingerprints
    with psycopg.connect(migrated_database) as connection:
        moved = connection.execute(
            "SELECT count(*) FROM sqp.search_query_performance"
            " WHERE created_at IS NULL OR updated_at <> created_at"
        ).fetchone()
    assert moved == (0,)


def test_a_week_that_was_made_ready_in_vain_goes_by_way_of_staging(session):
    rows = [{"search_query": f"query {n}", "total_click_rate": n / 7} for n in range(50)]
    with session.transaction():
        first = publish(session, TABLE, encode_ahead(TABLE, part(*rows[:40])))
    with session.transaction():
        again = publish(session, TABLE, encode_ahead(TABLE, part(*rows)))

    assert first.counts == Counts(read=40, inserted=40)
    assert again.counts == Counts(read=50, inserted=10, unchanged=40)


@pytest.mark.parametrize("refused", [(0,), (1,), (0, 1)])
def test_a_batch_whose_rows_were_all_refused_is_no_matter(session, refused):
    rows = [dict.fromkeys(SCHEMA.names) | KEY | {"search_query": query} for query in ("a", "b")]
    batches = [
        pa.RecordBatch.from_pylist([] if place in refused else [one], SCHEMA)
        for place, one in enumerate(rows)
    ]
    week = PeriodRows(WEEK, pa.RecordBatchReader.from_batches(SCHEMA, batches))

    with session.transaction():
        landed = publish(session, TABLE, encode_ahead(TABLE, week))

    assert landed.counts == Counts(read=2 - len(refused), inserted=2 - len(refused))


def test_batches_are_made_ready_in_the_order_of_their_key(session, migrated_database):
    rows = [{"search_query": query} for query in ("b", "c", "a")]
    with session.transaction():
        publish(session, TABLE, part(*rows))

    with psycopg.connect(migrated_database) as connection:
        placed = connection.execute(
            "SELECT search_query FROM sqp.search_query_performance ORDER BY ctid"
        )
        assert placed.fetchall() == [("a",), ("b",), ("c",)]


def test_a_key_that_comes_twice_is_left_to_a_comparison(session):
    rows = [{"search_query": "a", "asin_click_count": n} for n in (1, 2)]
    with pytest.raises(NeedsMerge), session.transaction():
        publish(session, TABLE, part(*rows))

    with session.transaction():
        landed = publish(session, TABLE, part(*rows), whole=True)

    assert landed.counts == Counts(read=2, inserted=1, superseded=1)
    assert landed.fingerprints is None


@pytest.mark.parametrize(
    "altered",
    [
        "ALTER TABLE sqp.search_query_performance ALTER COLUMN asin_click_count TYPE numeric",
        "ALTER TABLE sqp.search_query_performance ALTER COLUMN asin_click_count TYPE integer",
    ],
)
def test_a_column_that_was_altered_takes_its_values_by_a_cast(session, migrated_database, altered):
    with psycopg.connect(migrated_database) as connection:
        connection.execute(altered.encode())

    with session.transaction():
        publish(session, TABLE, part({"search_query": "a", "asin_click_count": 7}))

    with psycopg.connect(migrated_database) as connection:
        held = connection.execute("SELECT asin_click_count FROM sqp.search_query_performance")
        assert held.fetchall() == [(7,)]


def test_a_user_whom_row_security_binds_can_publish_all_the_same(migrated_database):
    with psycopg.connect(migrated_database) as connection:
        connection.execute("ALTER TABLE sqp.search_query_performance ENABLE ROW LEVEL SECURITY")
        connection.execute("ALTER TABLE sqp.search_query_performance FORCE ROW LEVEL SECURITY")
        connection.execute("CREATE ROLE bound LOGIN")
        connection.execute("CREATE POLICY all_of_it ON sqp.search_query_performance USING (true)")
        connection.execute("GRANT USAGE ON SCHEMA sqp TO bound")
        connection.execute("GRANT ALL ON sqp.search_query_performance TO bound")
    with connect(migrated_database) as session, session.transaction():
        from psycopg import sql

        session.run(sql.SQL("SET LOCAL ROLE bound"))
        landed = publish(session, TABLE, part({"search_query": "a"}))

    with psycopg.connect(migrated_database) as connection:
        connection.execute("DROP OWNED BY bound")
        connection.execute("DROP ROLE bound")
    assert landed.counts.inserted == 1
