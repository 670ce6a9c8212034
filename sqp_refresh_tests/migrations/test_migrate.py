"""Migrate up, down, again, at once and by SQL; a database has a version completely or not."""

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine

from sqp_refresh.errors import AccessDenied, NotFound, Permanent
from sqp_refresh.postgres import migrate
from sqp_refresh_tests.migrations.catalog import content, traces
from sqp_refresh_tests.migrations.servers import VERSIONS, Database, Server


def test_a_second_run_does_nothing(database: Database):
    assert migrate.upgrade(database.url) == VERSIONS
    before = content(database)
    assert migrate.upgrade(database.url) == []
    assert content(database) == before


def goes_up_and_leaves_nothing(database: Database) -> None:
    before = traces(database)
    migrate.upgrade(database.url)
    assert len(traces(database)) > len(before) + 20
    assert migrate.downgrade(database.url) == VERSIONS[::-1]
    assert traces(database) == before


def test_the_way_down_leaves_nothing_behind(database: Database):
    goes_up_and_leaves_nothing(database)


def test_the_way_down_leaves_nothing_behind_for_an_owner(owned: Database):
    goes_up_and_leaves_nothing(owned)


def test_up_down_up_gives_the_same_database(database: Database):
    migrate.upgrade(database.url)
    first = content(database)
    migrate.downgrade(database.url)
    migrate.upgrade(database.url)
    assert content(database) == first


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_can_be_taken_back_alone(database_18: Database, version: str):
    database = database_18
    migrate.upgrade(database.url, version)
    before = content(database)
    applied = migrate.upgrade(database.url)
    assert applied == [later for later in VERSIONS if later > version]
    assert migrate.downgrade(database.url, version) == applied[::-1]
    assert migrate.current_revision(database.url) == version
    assert content(database) == before


LOCK = "pg_advisory_xact_lock(hashtextextended('sqp.alembic_version', 0))"
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def test_two_processes_at_once_migrate_once(database_18: Database):
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        with psycopg.connect(database_18.url) as holder:
            holder.execute(f"SELECT {LOCK}".encode())
            applied = [pool.submit(migrate.upgrade, database_18.url) for _ in range(2)]
            while database_18.rows(WAITING) != [(2,)]:
                assert not any(migration.done() for migration in applied)
                time.sleep(0.02)
        assert sorted(migration.result() for migration in applied) == [[], VERSIONS]


def test_two_threads_at_once_migrate_once(database_18: Database):
    with ThreadPoolExecutor() as pool:
        applied = [*pool.map(migrate.upgrade, [database_18.url] * 4)]
    assert sorted(applied) == [[], [], [], VERSIONS]


ODD_SETTINGS = (
    sql.SQL("quote_all_identifiers = on"),
    sql.SQL("standard_conforming_strings = off"),
    sql.SQL("transform_null_equals = on"),
    sql.SQL("DateStyle = 'German, DMY'"),
)


def test_sql_gives_the_same_database(server: Server):
    by_upgrade, at_once, by_psql = (server.create_database() for _ in range(3))
    migrate.upgrade(by_upgrade.url)
    # Whatever the defaults of a database are: the SQL means the same.
    (name,) = at_once.rows("SELECT current_database()")[0]
    for setting in ODD_SETTINGS:
        at_once.rows(sql.SQL("ALTER DATABASE {} SET {}").format(sql.Identifier(name), setting))
    at_once.apply(migrate.render_sql())
    by_psql.apply_with_psql(migrate.render_sql())
    at_once.rows(sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(name)))
    for database in (at_once, by_psql):
        assert content(database) == content(by_upgrade)
        assert migrate.upgrade(database.url) == []
        assert migrate.is_at_newest_revision(database.url)


def test_sql_needs_no_psql():
    assert not [
        line for line in migrate.render_sql().splitlines() if line.lstrip().startswith("\\")
    ]


def test_an_owner_without_other_rights_may_migrate(
    owned: Database, caplog: pytest.LogCaptureFixture
):
    assert migrate.upgrade(owned.url) == VERSIONS
    notices = "\n".join(caplog.messages)
    for role in ("service_role", "anon", "authenticated"):
        assert f"role {role} does not exist and plain_owner may not create it" in notices
    assert "will not register itself, because plain_owner may not create an event" in notices
    assert not owned.rows("SELECT FROM pg_roles WHERE rolname IN ('service_role', 'anon')")


def test_an_empty_schema_of_ours_is_used(server: Server):
    owner = server.create_user("schema_owner")
    as_superuser = server.create_database()
    as_superuser.run("CREATE SCHEMA sqp AUTHORIZATION schema_owner")
    as_owner = as_superuser.as_user(owner)
    # It may not create a schema, only fill the one it has.
    assert migrate.upgrade(as_owner.url) == VERSIONS
    assert migrate.downgrade(as_owner.url) == VERSIONS[::-1]
    assert not as_superuser.rows("SELECT FROM pg_namespace WHERE nspname = 'sqp'")


def test_a_database_of_somebody_else_is_refused_in_one_line(server: Server):
    stranger = server.create_user("stranger")
    database = server.create_database()
    before = traces(database)
    with pytest.raises(AccessDenied, match=r"denied for database .*; migrate as the owner"):
        migrate.upgrade(database.as_user(stranger).url)
    assert traces(database) == before


def test_a_table_of_the_same_name_is_refused_and_kept(database_18: Database):
    database_18.run("CREATE SCHEMA sqp", "CREATE TABLE sqp.refresh_config (mine text)")
    before = traces(database_18)
    with pytest.raises(
        Permanent, match='"refresh_config" already exists; schema sqp holds'
    ) as caught:
        migrate.upgrade(database_18.url)
    assert "\n" not in str(caught.value)
    assert traces(database_18) == before


@pytest.mark.parametrize(
    ("mine", "named"),
    [
        ("CREATE TABLE sqp.my_targets (asin text)", "table sqp.my_targets"),
        ("CREATE FUNCTION sqp.my_sum() RETURNS int LANGUAGE sql AS 'SELECT 1'", "sqp.my_sum()"),
        ("CREATE TYPE sqp.my_colour AS ENUM ('red')", "type sqp.my_colour"),
        ("CREATE VIEW public.mine AS SELECT asin FROM sqp.weekly_summary", "view public.mine"),
    ],
)
def test_what_is_not_ours_stops_the_way_down(database_18: Database, mine: str, named: str):
    migrate.upgrade(database_18.url)
    with psycopg.connect(database_18.url) as connection:
        connection.execute(mine.encode())
    before = content(database_18)
    with pytest.raises(Permanent) as caught:
        migrate.downgrade(database_18.url)
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    assert content(database_18) == before


def test_a_schema_that_was_never_migrated_is_left_alone(database_18: Database):
    database_18.run("CREATE SCHEMA sqp")
    before = traces(database_18)
    assert migrate.downgrade(database_18.url) == []
    assert traces(database_18) == before


def test_current_revision_and_require_newest_revision(database_18: Database):
    database = database_18
    before = traces(database)
    assert migrate.current_revision(database.url) is None
    with pytest.raises(NotFound, match=r"^schema sqp is not migrated .*; run sqp-refresh migrate$"):
        migrate.require_newest_revision(database.url)
    assert traces(database) == before, "looking changes nothing"

    *_, before_last, last = VERSIONS
    migrate.upgrade(database.url, before_last)
    assert migrate.current_revision(database.url) == before_last
    assert not migrate.is_at_newest_revision(database.url)
    with pytest.raises(NotFound, match=f"it is at {before_last}, this release needs {last}"):
        migrate.require_newest_revision(database.url)

    migrate.upgrade(database.url)
    assert migrate.is_at_newest_revision(database.url)
    migrate.require_newest_revision(database.url)


def test_a_revision_that_does_not_exist_is_one_line(database_18: Database):
    database = database_18
    with pytest.raises(NotFound, match=r"^Can't locate revision .*9999.*; this release goes up to"):
        migrate.upgrade(database.url, "9999")
    assert migrate.current_revision(database.url) is None


def test_every_version_has_its_sql_and_no_sql_is_without_a_version():
    versions = migrate.FOLDER / "versions"
    names = {path.stem for path in versions.glob("0*.py")}
    chain = ScriptDirectory(str(migrate.FOLDER)).walk_revisions()
    assert [script.revision for script in chain][::-1] == VERSIONS
    assert {path.name for path in versions.glob("*.sql")} == {
        f"{name}.{direction}.sql" for name in names for direction in ("up", "down")
    }


def test_the_folder_may_have_a_percent_sign_in_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    moved = tmp_path / "100%s"
    moved.symlink_to(migrate.FOLDER)
    monkeypatch.setattr(migrate, "FOLDER", moved)
    assert migrate.newest_revision() == VERSIONS[-1]


def test_sql_is_run_as_it_stands(tmp_path: Path, database_18: Database):
    script = tmp_path / "script.sql"
    script.write_text("SELECT 'at :noon' || '%s %% :\\: ' || 1::text || ' é';\n", encoding="utf-8")
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(database_18.url)
    )
    with engine.connect() as connection:
        messages = connection.execute(migrate.read_sql(script)).scalar_one()
    engine.dispose()
    assert messages == "at :noon%s %% :\\: 1 é"
