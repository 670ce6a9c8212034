"""Test that a session reads the same values from any server, whatever the server's settings."""

from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from sqp_refresh.load.copy import STAGING, stage
from sqp_refresh.postgres.session import connect

QUERY = "SELECT '2025-03-04'::date, '2025-03-04T05:06:07+00:00'::timestamptz"
EXPECTED = (date(2025, 3, 4), datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC))


@pytest.fixture
def german_database(migrated_database) -> str:
    """Return the URL of a database that writes dates in German, in the time zone of Auckland."""
    name = sql.Identifier(urlsplit(migrated_database).path.removeprefix("/"))
    settings = {"DateStyle": "German, DMY", "TimeZone": "Pacific/Auckland"}
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        for setting, value in settings.items():
            change = sql.SQL("ALTER DATABASE {} SET {} TO {}")
            connection.execute(change.format(name, sql.Identifier(setting), sql.Literal(value)))
    return migrated_database


def test_times_are_in_utc_and_day_and_month_are_not_swapped(german_database):
    with connect(german_database) as session:
        day, instant = session.fetch_one(QUERY)

    assert (day, instant) == EXPECTED
    assert instant.utcoffset() == EXPECTED[1].utcoffset()


def test_text_is_utf_8_whatever_client_encoding_is_set(german_database, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    batch = pa.RecordBatch.from_pydict({"query": ["Füße €"]})

    separator = "&" if "?" in german_database else "?"
    url = f"{german_database}{separator}client_encoding=LATIN1"

    with connect(url) as session, session.transaction():
        stage(session, batch.schema, [batch])
        row = session.fetch_one(sql.SQL("SELECT query FROM {}").format(sql.Identifier(STAGING)))

    assert row == ("Füße €",)
