"""A database in another encoding than UTF8 is refused before a week is lost to it."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from sqp_refresh.errors import SettingsError
from sqp_refresh.monitoring.doctor.checkup import check_postgres
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.database_encoding import require_utf8
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import one_line, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, run_outside_transaction


@pytest.fixture
def latin1(postgres_url: str, monkeypatch) -> Iterator[str]:
    """An empty database that is encoded in LATIN1."""
    create = "CREATE DATABASE latin1 ENCODING LATIN1 LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    run_outside_transaction(postgres_url, sql.SQL(create))
    url = urlsplit(postgres_url)._replace(path="/latin1").geturl()
    monkeypatch.setenv("DATABASE_URL", url)
    yield url
    run_outside_transaction(postgres_url, sql.SQL("DROP DATABASE latin1 WITH (FORCE)"))


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP", "SQL_ASCII", "MULE_INTERNAL"])
def test_every_other_encoding_is_refused_by_name(encoding):
    with pytest.raises(SettingsError, match=f"database Sales is encoded in {encoding}, "):
        require_utf8(encoding, "Sales")


def test_migrate_and_doctor_refuse_it_with_a_remedy_that_works(latin1, postgres_url):
    message = one_line(sqp_refresh("migrate"))

    assert "database latin1 is encoded in LATIN1, " in message
    assert migrate.current_revision(latin1) is None
    # The doctor does not say to migrate what would be refused.
    (postgres,) = check_postgres(Settings.read())
    assert not postgres.is_ok
    assert postgres.message == message.removeprefix("sqp-refresh: ")
    with pytest.raises(psycopg.Error, match="database latin1 is encoded in LATIN1"):
        execute(latin1, migrate.render_sql())

    remedy = message[message.index("CREATE DATABASE") : message.index(", and point")]
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(remedy.encode())
    made = urlsplit(latin1)._replace(path="/latin1_utf8").geturl()
    try:
        migrate.upgrade(made)
    finally:
        run_outside_transaction(postgres_url, sql.SQL("DROP DATABASE latin1_utf8 WITH (FORCE)"))
