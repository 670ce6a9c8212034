"""Publishing makes a period of the target equal to what came, and counts exactly what it did."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import date

import psycopg
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sqp_refresh.errors import DataError, SchemaMismatch
from sqp_refresh.ledger.target_version import Baseline
from sqp_refresh.ledger.target_version import held as whereabouts
from sqp_refresh.load.merge import publish
from sqp_refresh.load.result import Counts, NeedsMerge
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows
from sqp_refresh.model.tables import ASIN_PERFORMANCE_DATA, DAILY_SQP_DATA, SUMMED_COUNTS, Table
from sqp_refresh.postgres.session import Session, connect

WEEK = Period.week_of(date(2025, 8, 10))
NEXT = Period.week_of(date(2025, 8, 17))

SCHEMA = pa.schema(
    [
        ("report_date", pa.date32()),
        ("marketplace", pa.string()),
        ("asin", pa.string()),
        ("search_query_count", pa.int64()),
        *((name, pa.int64()) for name in SUMMED_COUNTS),
    ]
)

asins = st.sampled_from(["A", "B", "C", "D", "E"])
counts = st.one_of(st.none(), st.integers(0, 3))
weeks_of_rows = st.dictionaries(asins, st.tuples(counts, counts), max_size=5)


@pytest.fixture
def session(migrated_database) -> Iterator[Session]:
    with connect(migrated_database) as session:
        yield session


def batch_of(week: Period, rows: dict[str, tuple]) -> pa.RecordBatch:
    """One row an ASIN: its impressions and clicks; every other count is 1."""
    columns = {
        "report_date": [week.start] * len(rows),
        "marketplace": ["US"] * len(rows),
        "asin": list(rows),
        "search_query_count": [1] * len(rows),
        **{name: [1] * len(rows) for name in SUMMED_COUNTS},
        "asin_impressions": [impressions for impressions, _ in rows.values()],
        "asin_clicks": [clicks for _, clicks in rows.values()],
    }
    return pa.RecordBatch.from_pydict(columns, schema=SCHEMA)


def rows_of(week: Period, rows: dict[str, tuple]) -> PeriodRows:
    return PeriodRows(week, pa.RecordBatchReader.from_batches(SCHEMA, [batch_of(week, rows)]))


def publish_week(session: Session, week: Period, rows: dict[str, tuple]) -> Counts:
    with session.transaction():
        return publish(session, DAILY_SQP_DATA, rows_of(week, rows)).counts


def known_after(
    session: Session, rows: dict[str, tuple], table: Table = DAILY_SQP_DATA
) -> Baseline:
    """Publish a week, and look at what is known of it then."""
    with session.transaction():
        landed = publish(session, table, rows_of(WEEK, rows))
        assert landed.fingerprints is not None
        return Baseline(landed.inventory.held, landed.fingerprints)


def held(session: Session) -> dict[str, tuple]:
    from psycopg import sql

    found = session.rows(
        sql.SQL(
            "SELECT asin, asin_impressions, asin_clicks FROM sqp.daily_sqp_data"
            " WHERE report_date = {}"
        ).format(sql.Literal(WEEK.start))
    )
    session.rollback()
    return {asin: tuple(values) for asin, *values in found}


@given(before=weeks_of_rows, after=weeks_of_rows)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_week_becomes_any_other_and_every_row_is_counted(session, before, after):
    from psycopg import sql

    with session.transaction():
        session.run(sql.SQL("DELETE FROM sqp.daily_sqp_data"))
    publish_week(session, NEXT, {"N": (1, 1)})
    publish_week(session, WEEK, before)

    done = publish_week(session, WEEK, after)

    same = {asin for asin in before.keys() & after.keys() if before[asin] == after[asin]}
    if after:
        assert held(session) == after
        assert done == Counts(
            read=len(after),
            inserted=len(after.keys() - before.keys()),
            updated=len(before.keys() & after.keys()) - len(same),
            unchanged=len(same),
            deleted=len(before.keys() - after.keys()),
        )
    else:
        assert held(session) == before
        assert done == Counts(retained=len(before))
    assert publish_week(session, NEXT, {"N": (1, 1)}).unchanged == 1


@given(before=weeks_of_rows, after=weeks_of_rows)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_that_are_known_are_not_sent_and_the_outcome_is_the_same(session, before, after):
    from psycopg import sql

    with session.transaction():
        session.run(sql.SQL("DELETE FROM sqp.daily_sqp_data"))
    publish_week(session, NEXT, {"N": (1, 1)})
    known = known_after(session, before)
    has_lost = bool(before.keys() - after.keys())
    same = {asin for asin in before.keys() & after.keys() if before[asin] == after[asin]}

    with suppress(NeedsMerge), session.transaction():
        done = publish(session, DAILY_SQP_DATA, rows_of(WEEK, after), known=known)

        assert not has_lost
        assert done.counts == Counts(
            read=len(after),
            inserted=len(after.keys() - before.keys()),
            updated=len(before.keys() & after.keys()) - len(same),
            unchanged=len(same),
        )
        assert (done.fingerprints == known.fingerprints) == (before == after)
        assert done.inventory.held == whereabouts(session, DAILY_SQP_DATA, [WEEK])[WEEK]
    assert held(session) == (before if has_lost else after)


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE sqp.daily_sqp_data SET market_clicks = 9 WHERE asin = 'A'",
        "UPDATE sqp.daily_sqp_data SET market_clicks = 9 WHERE asin = 'B'",
        "DELETE FROM sqp.daily_sqp_data WHERE asin = 'B'",
        "UPDATE sqp.daily_sqp_data SET asin = 'C' WHERE asin = 'B'",
        "INSERT INTO sqp.daily_sqp_data (report_date, marketplace, asin)"
        " VALUES ('2025-08-10', 'US', 'C')",
    ],
)
@pytest.mark.parametrize("after", [{"A": (1, 1), "B": (1, 1)}, {"A": (2, 2), "B": (1, 1)}])
def test_an_edit_while_the_rows_are_on_their_way_is_not_taken_for_ours(
    session, migrated_database, edit, after
):
    known = known_after(session, {"A": (1, 1), "B": (1, 1)})

    def interrupted():
        with psycopg.connect(migrated_database) as connection:
            connection.execute(edit)
        yield batch_of(WEEK, after)

    part = PeriodRows(WEEK, pa.RecordBatchReader.from_batches(SCHEMA, interrupted()))
    with pytest.raises(NeedsMerge), session.transaction():
        publish(session, DAILY_SQP_DATA, part, known=known)


def test_what_a_trigger_does_to_other_rows_has_the_week_compared_whole(session, migrated_database):
    known = known_after(session, {"A": (1, 1), "B": (1, 1)})
    with psycopg.connect(migrated_database) as connection:
        connection.execute(
            "CREATE FUNCTION sqp.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " UPDATE sqp.daily_sqp_data SET market_clicks = 9 WHERE asin = 'B'; RETURN NULL; END $$"
        )
        connection.execute(
            "CREATE TRIGGER touch AFTER UPDATE ON sqp.daily_sqp_data"
            " FOR EACH ROW WHEN (NEW.asin = 'A') EXECUTE FUNCTION sqp.touch()"
        )
    after = {"A": (2, 2), "B": (1, 1)}

    with pytest.raises(NeedsMerge), session.transaction():
        publish(session, DAILY_SQP_DATA, rows_of(WEEK, after), known=known)
    with session.transaction():
        whole = publish(session, DAILY_SQP_DATA, rows_of(WEEK, after), whole=True)

    assert whole.counts == Counts(read=2, updated=1, unchanged=1)


def test_all_rows_are_compared_where_that_is_asked_for(session):
    known_after(session, {"A": (1, 1), "B": (1, 1)})

    with session.transaction():
        landed = publish(session, DAILY_SQP_DATA, rows_of(WEEK, {"A": (1, 1)}), whole=True)

    assert landed.counts == Counts(read=1, unchanged=1, deleted=1)


def test_a_column_in_the_place_of_another_of_its_name_is_noticed(session, migrated_database):
    before = known_after(session, {"A": (1, 1)}).held
    with psycopg.connect(migrated_database) as connection:
        connection.execute("ALTER TABLE sqp.daily_sqp_data DROP COLUMN ctr")
        connection.execute("ALTER TABLE sqp.daily_sqp_data ADD COLUMN ctr numeric(10,4)")

    now = whereabouts(session, DAILY_SQP_DATA, [WEEK])[WEEK]
    session.rollback()

    assert (now.rows, now.state == before.state) == (before.rows, False)


def test_a_key_that_comes_twice_is_not_told_by_fingerprints(session):
    twice = pa.concat_batches([batch_of(WEEK, {"A": (1, 1)}), batch_of(WEEK, {"A": (2, 2)})])
    known = known_after(session, {"A": (1, 1)})
    parts = [
        PeriodRows(WEEK, pa.RecordBatchReader.from_batches(SCHEMA, batches))
        for batches in ([twice], [twice.slice(0, 1), twice.slice(1)])
    ]

    for part in parts:
        with pytest.raises(NeedsMerge), session.transaction():
            publish(session, DAILY_SQP_DATA, part, known=known)
    assert held(session) == {"A": (1, 1)}

    with session.transaction():
        whole = publish(
            session,
            DAILY_SQP_DATA,
            PeriodRows(WEEK, pa.RecordBatchReader.from_batches(SCHEMA, [twice])),
        )
    assert (whole.counts.superseded, whole.fingerprints) == (1, None)


def test_what_an_error_interrupts_leaves_nothing_behind(session):
    publish_week(session, WEEK, {"A": (1, 1)})
    part = rows_of(WEEK, {"A": (2, 2)})

    with pytest.raises(RuntimeError), session.transaction():
        publish(session, DAILY_SQP_DATA, part)
        raise RuntimeError

    assert held(session) == {"A": (1, 1)}


def test_a_read_that_fails_half_way_shows_its_own_error(session):
    publish_week(session, WEEK, {"A": (1, 1)})

    def broken():
        yield batch_of(WEEK, {"A": (2, 2)})
        raise DataError("the source broke")

    part = PeriodRows(WEEK, pa.RecordBatchReader.from_batches(SCHEMA, broken()))

    with pytest.raises(DataError, match="the source broke"), session.transaction():
        publish(session, DAILY_SQP_DATA, part)
    assert held(session) == {"A": (1, 1)}


def test_a_type_without_an_exact_equal_is_refused_before_anything_is_copied(session):
    schema = pa.schema([("asin", pa.string()), ("asin_clicks", pa.int32())])
    part = PeriodRows(WEEK, pa.RecordBatchReader.from_batches(schema, []))

    refused = pytest.raises(SchemaMismatch, match="'asin_clicks' has the Arrow type int32")
    with refused, session.transaction():
        publish(session, DAILY_SQP_DATA, part)


def test_a_row_without_its_key_stops_the_week(session):
    columns = batch_of(WEEK, {"A": (1, 1)}).to_pydict() | {"asin": [None]}
    batch = pa.RecordBatch.from_pydict(columns, schema=SCHEMA)
    part = PeriodRows(WEEK, pa.RecordBatchReader.from_batches(SCHEMA, [batch]))

    with pytest.raises(DataError, match='null value in column "asin"'), session.transaction():
        publish(session, DAILY_SQP_DATA, part)
    assert held(session) == {}


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
    part = PeriodRows(WEEK, pa.RecordBatchReader.from_batches(schema, [batch]))

    with pytest.raises(DataError, match="numeric field overflow"), session.transaction():
        publish(session, ASIN_PERFORMANCE_DATA, part)


def test_rows_at_one_place_of_two_partitions_are_not_confused(session, migrated_database):
    table = replace(DAILY_SQP_DATA, name="parted")
    with psycopg.connect(migrated_database) as connection:
        connection.execute(
            "CREATE TABLE sqp.parted (LIKE sqp.daily_sqp_data INCLUDING DEFAULTS)"
            " PARTITION BY LIST (asin)"
        )
        for asin in ("a", "b"):
            connection.execute(
                f"CREATE TABLE sqp.parted_{asin} PARTITION OF sqp.parted FOR VALUES IN ('{asin}')"
            )
        connection.execute("CREATE TABLE sqp.parted_rest PARTITION OF sqp.parted DEFAULT")
    known = known_after(session, {"a": (1, 1), "b": (1, 1)}, table)

    after = {"a": (1, 1), "b": (2, 1), "c": (1, 1)}
    with session.transaction():
        differing = publish(session, table, rows_of(WEEK, after), known=known)
    with session.transaction():
        vanished = publish(session, table, rows_of(WEEK, {"b": (3, 1)}), whole=True)

    assert differing.counts == Counts(read=3, inserted=1, updated=1, unchanged=1)
    assert vanished.counts == Counts(read=1, updated=1, deleted=2)
    with psycopg.connect(migrated_database) as connection:
        rows = connection.execute("SELECT asin, asin_impressions FROM sqp.parted").fetchall()
    assert rows == [("b", 3)]


def test_indexes_and_grants_of_the_target_survive(session):
    from psycopg import sql

    identity = sql.SQL(
        "SELECT oid, relfilenode, relacl::text FROM pg_class"
        " WHERE oid = 'sqp.daily_sqp_data'::regclass"
    )
    before = session.row(identity)
    session.rollback()

    publish_week(session, WEEK, {"A": (1, 1)})
    publish_week(session, WEEK, {"B": (1, 1)})

    assert session.row(identity) == before
