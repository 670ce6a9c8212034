"""A session brings the same values from any server, whatever its settings are."""

import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql
from psycopg.rows import class_row, dict_row

from sqp_refresh.errors import DataError, WriteConflict
from sqp_refresh.load.copy import STAGING, stage
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.postgres.session import Session, connect, identifier
from sqp_refresh.registry.table_description import describe_tables
from sqp_refresh_tests.helpers.database import execute, rows

QUERY = "SELECT '2025-03-04'::date, '2025-03-04T05:06:07+00:00'::timestamptz"
EXPECTED = (date(2025, 3, 4), datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC))


@pytest.fixture
def odd(migrated_database) -> str:
    """A database of other settings than most."""
    name = sql.Identifier(urlsplit(migrated_database).path.removeprefix("/"))
    settings = {
        "DateStyle": "German, DMY",
        "TimeZone": "Pacific/Auckland",
        "IntervalStyle": "sql_standard",
        "array_nulls": "off",
        "bytea_output": "escape",
        "client_encoding": "LATIN1",
        "default_transaction_isolation": "serializable",
        "exit_on_error": "on",
        "extra_float_digits": "-10",
        "idle_session_timeout": "300ms",
        "lc_monetary": "C.UTF-8",
        "quote_all_identifiers": "on",
        "row_security": "off",
        "standard_conforming_strings": "off",
        "transform_null_equals": "on",
        "xmloption": "document",
    }
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        for setting, value in settings.items():
            change = sql.SQL("ALTER DATABASE {} SET {} TO {}")
            connection.execute(change.format(name, sql.Identifier(setting), sql.Literal(value)))
    return migrated_database


def test_times_come_in_utc_and_days_are_not_turned_around(odd):
    with connect(odd) as session:
        day, instant = session.fetch_one(QUERY)

    assert (day, instant) == EXPECTED
    assert instant.utcoffset() == EXPECTED[1].utcoffset()


@pytest.mark.parametrize("begins", [Session.transaction, lambda session: nullcontext()])
def test_statements_and_values_mean_the_same_whatever_the_defaults_are(odd, begins):
    query = r"""
        SELECT '\d', %(names)s::text[], 1 / 3::float8, '\x00ff'::bytea::text,
            ('-1 day -2 hours'::interval)::text, current_setting('transaction_isolation'),
            format_type('text'::regtype, NULL), quote_ident('text'), NULL::text = NULL,
            current_setting('xmloption'), current_setting('row_security'),
            current_setting('lc_monetary'), current_setting('client_encoding')"""
    with connect(odd) as session:
        with begins(session):
            values = session.fetch_one(query, {"names": ["a", None]})
        session.commit()
        with pytest.raises(DataError), begins(session):
            session.execute("SELECT 1 / 0")
        session.rollback()
        assert session.fetch_one("SELECT 1") == (1,)

    assert values == (
        *(r"\d", ["a", None], 1 / 3, r"\x00ff"),
        *("-1 days -02:00:00", "read committed", "text", "text", None),
        *("content", "on", "C", "UTF8"),
    )


def test_types_are_printed_as_they_are_compared_whatever_the_defaults_are(odd):
    with connect(odd) as session:
        described = describe_tables(session, ["search_query_performance"])

    columns = {column.name: column.type for column in SEARCH_QUERY_PERFORMANCE.columns}
    assert described["search_query_performance"].types.items() >= columns.items()


def test_a_session_may_stand_idle_between_two_transactions(odd):
    with connect(odd) as session:
        time.sleep(0.8)
        with session.transaction():
            assert session.fetch_one("SELECT 1") == (1,)


def test_a_transaction_behind_a_pooler_has_its_times_in_utc_too(odd):
    with connect(odd) as session:
        # As on another connection than the one that the session began with.
        session.execute("RESET TimeZone")
        session.execute("RESET DateStyle")
        session.commit()
        with session.transaction():
            assert session.fetch_one(QUERY) == EXPECTED


def test_texts_are_what_they_were_whatever_encoding_the_client_is_set_to(odd, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    batch = pa.RecordBatch.from_pydict({"query": ["Füße €"]})

    url = f"{odd}{'&' if '?' in odd else '?'}client_encoding=LATIN1"

    with connect(url) as session, session.transaction():
        stage(session, batch.schema, [batch])
        row = session.fetch_one(sql.SQL("SELECT query FROM {}").format(sql.Identifier(STAGING)))

    assert row == ("Füße €",)


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of two columns."""

    number: int
    name: str


def test_rows_come_as_what_the_row_factory_makes_of_their_columns(migrated_database):
    with connect(migrated_database) as session:
        pairs = session.fetch_all(
            "SELECT 'a' AS name, %(number)s::int AS number",
            {"number": 1},
            row_factory=class_row(Pair),
        )

    assert pairs == [Pair(1, "a")]


def test_a_percent_sign_in_a_name_is_no_parameter(migrated_database):
    with connect(migrated_database) as session:
        query = sql.SQL("SELECT %(value)s::text AS {}").format(identifier("50 % off"))
        (row,) = session.fetch_all(query, {"value": "50 %"}, row_factory=dict_row)

    assert row == {"50 % off": "50 %"}


def test_a_transaction_commits_all_of_it_or_nothing(migrated_database):
    with connect(migrated_database) as session:
        with session.transaction():
            session.execute("CREATE TABLE public.numbers AS SELECT 1 AS number")
        with pytest.raises(ZeroDivisionError), session.transaction(synchronous_commit=False):
            assert session.fetch_one("SHOW synchronous_commit") == ("off",)
            assert session.execute("INSERT INTO public.numbers SELECT generate_series(2, 4)") == 3
            raise ZeroDivisionError

        assert session.fetch_all("SELECT number FROM public.numbers") == [(1,)]


CONFIG = sql.Identifier("sqp", "refresh_config")
DISABLED = "SELECT count(*) FROM sqp.refresh_config WHERE NOT is_enabled"
DISABLE = "UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name = 'daily_sqp_data'"


def test_a_transaction_that_writes_to_a_table_has_one_snapshot(migrated_database):
    with connect(migrated_database) as session:
        with session.transaction(writes_to=CONFIG):
            before = session.fetch_one(DISABLED)
            execute(migrated_database, DISABLE)
            assert session.fetch_one(DISABLED) == before == (0,)
        with session.transaction():
            assert session.fetch_one(DISABLED) == (1,)


def test_to_write_what_somebody_else_has_written_since_the_snapshot_is_a_conflict(
    migrated_database,
):
    with connect(migrated_database) as session:
        with pytest.raises(WriteConflict), session.transaction(writes_to=CONFIG):
            session.fetch_one(DISABLED)
            execute(migrated_database, DISABLE)
            session.execute("UPDATE sqp.refresh_config SET priority = 1")
        with session.transaction(writes_to=CONFIG):
            session.execute("UPDATE sqp.refresh_config SET priority = 1")


def test_the_snapshot_shows_what_was_done_while_the_definition_was_waited_for(migrated_database):
    seen = []

    def look() -> None:
        with connect(migrated_database) as session, session.transaction(writes_to=CONFIG):
            seen.append(session.fetch_one(DISABLED))

    with psycopg.connect(migrated_database) as other:
        other.execute("LOCK TABLE sqp.refresh_config IN ACCESS EXCLUSIVE MODE")
        thread = threading.Thread(target=look)
        thread.start()
        while rows(migrated_database, "SELECT 1 FROM pg_locks WHERE NOT granted") == []:
            time.sleep(0.02)
        other.execute(DISABLE)
    thread.join()

    assert seen == [(1,)]


def test_who_waits_sees_what_was_done_meanwhile_whatever_the_servers_default_is(odd):
    name = sql.Identifier(urlsplit(odd).path.removeprefix("/"))
    with psycopg.connect(odd, autocommit=True) as connection:
        change = sql.SQL("ALTER DATABASE {} SET default_transaction_isolation TO 'serializable'")
        connection.execute(change.format(name))

    with connect(odd) as session:
        session.fetch_one(DISABLED)
        execute(odd, DISABLE)
        assert session.fetch_one(DISABLED) == (1,)
