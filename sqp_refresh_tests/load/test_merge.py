"""A merge makes a period of the target equal to what came, and counts exactly what it did."""

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from sqp_refresh.errors import DataError, SchemaMismatch
from sqp_refresh.load import merge
from sqp_refresh.load.copy import STAGING, stage
from sqp_refresh.load.merge_sql import ReadRows, ranked
from sqp_refresh.load.result import Counts
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.tables import ASIN_PERFORMANCE_DATA, SUMMED_COUNTS
from sqp_refresh_tests.helpers.database import rows
from sqp_refresh_tests.load.daily_rows import (
    NEXT_TARGET,
    SCHEMA,
    TARGET,
    WEEK,
    batch_of,
    empty_table,
    merge_week,
    reader_of,
    rows_in_table,
)

asins = st.sampled_from(["A", "B", "C", "D", "E"])
counts = st.none() | st.integers(0, 3)
weeks_of_rows = st.dictionaries(asins, st.tuples(counts, counts), max_size=5)


@given(before=weeks_of_rows, after=weeks_of_rows)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_week_becomes_any_other_and_every_row_is_counted(session, before, after):
    empty_table(session)
    merge_week(session, {"N": (1, 1)}, NEXT_TARGET)
    merge_week(session, before)

    result = merge_week(session, after)

    same = {asin for asin in before.keys() & after.keys() if before[asin] == after[asin]}
    if after:
        assert rows_in_table(session) == after
        assert result.counts == Counts(
            read=len(after),
            inserted=len(after.keys() - before.keys()),
            updated=len(before.keys() & after.keys()) - len(same),
            unchanged=len(same),
            deleted=len(before.keys() - after.keys()),
        )
    else:
        assert rows_in_table(session) == before
        assert result.counts == Counts(retained=len(before))
    assert merge_week(session, {"N": (1, 1)}, NEXT_TARGET).counts.unchanged == 1


def test_rows_that_the_source_no_longer_has_are_deleted(session):
    merge_week(session, {"A": (1, 1), "B": (1, 1)})

    result = merge_week(session, {"A": (1, 1)})

    assert result.counts == Counts(read=1, unchanged=1, deleted=1)


def test_a_key_that_comes_twice_counts_once_and_has_no_hashes(session):
    twice = pa.concat_batches([batch_of({"A": (1, 1)}), batch_of({"A": (2, 2)})])

    with session.transaction():
        result = merge.load(session, TARGET, reader_of([twice]))

    assert result.counts == Counts(read=2, inserted=1, superseded=1)
    assert result.row_hashes is None
    assert rows_in_table(session) == {"A": (2, 2)}


def test_of_two_texts_the_greater_counts_as_bigquery_orders_them_in_any_locale(session):
    contradiction = {"marketplace": ["US"] * 2, "asin": ["A"] * 2, "parent_asin": ["b", "C"]}
    batch = pa.RecordBatch.from_pydict(contradiction)
    read = ranked(ASIN_PERFORMANCE_DATA, ReadRows(sql.Identifier(STAGING), tuple(contradiction)))
    assert read.query

    with session.transaction():
        stage(session, batch.schema, [batch])
        first = sql.SQL("SELECT parent_asin FROM ({}) AS read WHERE __sqp_rank = 1").format(
            read.query
        )
        assert session.fetch_all(first) == [("b",)]
    # This Postgres has no locale in which C would be the greater one.
    assert 'ORDER BY "parent_asin" COLLATE "C" DESC' in read.query.as_string()


def test_what_an_error_interrupts_leaves_nothing_behind(session):
    merge_week(session, {"A": (1, 1)})

    with pytest.raises(RuntimeError), session.transaction():
        merge.load(session, TARGET, reader_of([batch_of({"A": (2, 2)})]))
        raise RuntimeError

    assert rows_in_table(session) == {"A": (1, 1)}


def test_a_read_that_fails_half_way_shows_its_own_error(session):
    merge_week(session, {"A": (1, 1)})

    def broken():
        yield batch_of({"A": (2, 2)})
        raise DataError("the source broke")

    with pytest.raises(DataError, match="the source broke"), session.transaction():
        merge.load(session, TARGET, reader_of(broken()))
    assert rows_in_table(session) == {"A": (1, 1)}


def test_a_type_without_an_exact_equal_is_refused_before_anything_is_copied(session):
    schema = pa.schema([("asin", pa.string()), ("asin_clicks", pa.int32())])

    mismatch = pytest.raises(SchemaMismatch, match="'asin_clicks' has the Arrow type int32")
    with mismatch, session.transaction():
        merge.load(session, TARGET, reader_of([], schema))


def test_a_row_without_its_key_stops_the_week(session):
    columns = batch_of({"A": (1, 1)}).to_pydict() | {"asin": [None]}
    batch = pa.RecordBatch.from_pydict(columns, schema=SCHEMA)

    with pytest.raises(DataError, match='null value in column "asin"'), session.transaction():
        merge.load(session, TARGET, reader_of([batch]))
    assert rows_in_table(session) == {}


def test_a_value_too_large_for_its_column_stops_the_week(session):
    schema = pa.schema(
        [
            ("marketplace", pa.string()),
            ("asin", pa.string()),
            *((name, pa.string()) for name in ("parent_asin", "product_title", "brand")),
            ("category", pa.string()),
            ("search_query_count", pa.int64()),
            *((name, pa.int64()) for name in SUMMED_COUNTS),
            *((f"{name}_price_median_low", pa.float64()) for name in ("market", "asin")),
            *((f"{name}_price_median_high", pa.float64()) for name in ("market", "asin")),
        ]
    )
    batch = pa.RecordBatch.from_pydict(
        {
            field.name: ["x" if field.type == pa.string() else 1e15 if "price" in field.name else 1]
            for field in schema
        },
        schema=schema,
    )
    target = TargetPeriod(ASIN_PERFORMANCE_DATA, WEEK)

    with pytest.raises(DataError, match="numeric field overflow"), session.transaction():
        merge.load(session, target, reader_of([batch], schema))


def test_indexes_and_grants_of_the_target_survive(session, migrated_database):
    identity = (
        "SELECT oid, relfilenode, relacl::text FROM pg_class"
        " WHERE oid = 'sqp.daily_sqp_data'::regclass"
    )
    before = rows(migrated_database, identity)

    merge_week(session, {"A": (1, 1)})
    merge_week(session, {"B": (1, 1)})

    assert rows(migrated_database, identity) == before
