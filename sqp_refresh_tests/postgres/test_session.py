"""A session brings the same values from any server, whatever its settings are."""

from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import psycopg
import pyarrow as pa
import pytest
from psycopg import sql

from sqp_refresh.load.copy import STAGING, stage
from sqp_refresh.postgres.session import connect

ASKED = sql.SQL("SELECT '2025-03-04'::date, '2025-03-04T05:06:07+00:00'::timestamptz")
MEANT = (date(2025, 3, 4), datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC))


@pytest.fixture
def odd(migrated_database) -> str:
    """A database of other settings than most."""
    name = sql.Identifier(urlsplit(migrated_database).path.removeprefix("/"))
    settings = {"DateStyle": "German, DMY", "TimeZone": "Pacific/Auckland"}
    with psycopg.connect(migrated_database, autocommit=True) as connection:
        for setting, value in settings.items():
            change = sql.SQL("ALTER DATABASE {} SET {} TO {}")
            connection.execute(change.format(name, sql.Identifier(setting), sql.Literal(value)))
    return migrated_database


def test_times_come_in_utc_and_days_are_not_turned_around(odd):
    with connect(odd) as session:
        day, instant = session.row(ASKED)

    assert (day, instant) == MEANT
    assert instant.utcoffset() == MEANT[1].utcoffset()


def test_texts_are_what_they_were_whatever_the_client_is_said_to_speak(odd, monkeypatch):
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    batch = pa.RecordBatch.from_pydict({"query": ["Füße €"]})

    url = f"{odd}{'&' if '?' in odd else '?'}client_encoding=LATIN1"

    with connect(url) as session, session.transaction():
        stage(session, batch.schema, [batch])
        found = session.row(sql.SQL("SELECT query FROM {}").format(sql.Identifier(STAGING)))

    assert found == ("Füße €",)
