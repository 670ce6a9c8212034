"""Check that service_role may use every table, and others no control table or view of one."""

import psycopg
import pytest

from sqp_refresh.model.tables import TABLES
from sqp_refresh.monitoring.views import VIEWS
from sqp_refresh.postgres import migrate
from sqp_refresh_tests.helpers.view_oracle import KEYS as DATA_VIEWS
from sqp_refresh_tests.migrations.servers import ROLES, Database, Server

RELATIONS = "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'sqp'::regnamespace"
CONTROL = {
    *VIEWS,
    "refresh_config",
    "refresh_dependencies",
    "refresh_audit_log",
    "refresh_audit_log_archive",
    "refresh_checkpoints",
    "refresh_data_quality",
    "refresh_quarantine",
    "refresh_periods",
    "refresh_pins",
    "refresh_week_changes",
    "refresh_finality",
    "refresh_mutes",
    "refresh_switches",
    "refresh_indexes",
    "refresh_comparisons",
    "refresh_proofs",
    "refresh_requests",
    "refresh_history",
    "webhook_configs",
    "webhook_deliveries",
    "alembic_version",
}
ALLOWED = "SELECT has_table_privilege(%s, %s, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE')"
MAKE_GENEROUS = (
    "CREATE ROLE anon",
    "CREATE ROLE authenticated",
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO anon, authenticated, PUBLIC",
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO anon, authenticated",
    "ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO anon, authenticated",
)


def relations(database: Database, kinds: str) -> set[str]:
    return {name for name, kind in database.rows(RELATIONS) if kind in kinds}


def test_outsiders_can_read_no_control_table(database: Database):
    """Check that also where the server grants new tables to everybody, and the schema too."""
    database.run(*MAKE_GENEROUS)
    migrate.upgrade(database.url)
    database.run("GRANT USAGE ON SCHEMA sqp TO anon, authenticated")
    assert relations(database, "rv") == {*CONTROL, *DATA_VIEWS, *TABLES}
    for outsider in ("anon", "authenticated"):
        for name in CONTROL:
            assert database.rows(ALLOWED, outsider, f"sqp.{name}") == [(False,)], name
        for name in relations(database, "S"):
            may = "SELECT has_sequence_privilege(%s, %s, 'USAGE, SELECT, UPDATE')"
            assert database.rows(may, outsider, f"sqp.{name}") == [(False,)], name
        for name in ("touch_updated_at", "register_new_table"):
            may = "SELECT has_function_privilege(%s, %s, 'EXECUTE')"
            assert database.rows(may, outsider, f"sqp.{name}()") == [(False,)], name
        assert database.rows(ALLOWED, outsider, "sqp.weekly_summary") == [(True,)]
        refused_to(database, outsider)
        with psycopg.connect(database.url) as connection:
            connection.execute(f"SET ROLE {outsider}".encode())
            connection.execute("SELECT * FROM sqp.weekly_summary")


def refused_to(database: Database, outsider: str) -> None:
    """Assert that a role may read or empty no control table, and call no function."""
    functions = """
        SELECT oid::regproc::text,
            concat_ws(', ', VARIADIC array_fill('NULL'::text, ARRAY[pronargs]))
        FROM pg_proc WHERE pronamespace = 'sqp'::regnamespace
    """
    attempts = [f"SELECT * FROM sqp.{name}" for name in CONTROL]
    attempts += [f"DELETE FROM sqp.{name}" for name in CONTROL - set(VIEWS)]
    attempts += [f"SELECT {name}({nulls})" for name, nulls in database.rows(functions)]
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"SET ROLE {outsider}".encode())
        for attempt in attempts:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(attempt.encode())


def test_outsiders_are_granted_nothing(database_18: Database):
    migrate.upgrade(database_18.url)
    for outsider in ("anon", "authenticated"):
        assert database_18.rows("SELECT has_schema_privilege(%s, 'sqp', 'USAGE')", outsider) == [
            (False,)
        ]
        for name in relations(database_18, "rv"):
            assert database_18.rows(ALLOWED, outsider, f"sqp.{name}") == [(False,)], name


def test_service_role_may_use_every_table(database: Database):
    migrate.upgrade(database.url)
    database.run("CREATE TABLE sqp.later (id bigint GENERATED ALWAYS AS IDENTITY, asin text)")
    with psycopg.connect(database.url) as connection:
        connection.execute("SET ROLE service_role")
        for name in relations(database, "rv"):
            connection.execute(f"SELECT * FROM sqp.{name}".encode())
        for name in relations(database, "r"):
            connection.execute(f"DELETE FROM sqp.{name}".encode())
        connection.execute("INSERT INTO sqp.later (asin) VALUES ('B000000000')")
        connection.execute("INSERT INTO sqp.refresh_config (table_name) VALUES ('later')")
        connection.execute("UPDATE sqp.refresh_config SET is_enabled = false")


def test_a_view_shows_no_more_than_the_table_beneath(database: Database):
    """Check that with a role that has a grant for the view only, which Postgres 14 cannot hold."""
    ((version,),) = database.rows("SELECT current_setting('server_version_num')::int")
    if version < 150000:
        pytest.skip("views read as their owner up to Postgres 14; migration 0003 says so")
    migrate.upgrade(database.url)
    database.run("CREATE ROLE viewer", "GRANT USAGE ON SCHEMA sqp TO viewer")
    for view in VIEWS:
        with psycopg.connect(database.url) as connection:
            connection.execute(f"GRANT SELECT ON sqp.{view} TO viewer".encode())
            connection.execute("SET ROLE viewer")
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="refresh_"):
                connection.execute(f"SELECT * FROM sqp.{view}".encode())


def test_an_owner_who_may_create_roles_creates_and_drops_them(server: Server):
    owner = server.create_user("role_maker", "CREATEROLE")
    database = server.create_database(owner).as_user(owner)
    roles = "SELECT count(*) FROM pg_roles WHERE rolname = ANY (%s)"
    migrate.upgrade(database.url)
    assert database.rows(roles, list(ROLES)) == [(3,)]
    assert database.rows("SELECT has_schema_privilege('service_role', 'sqp', 'USAGE')") == [(True,)]
    migrate.downgrade(database.url)
    assert database.rows(roles, list(ROLES)) == [(0,)]


def test_a_role_that_was_there_before_stays(database_18: Database):
    database_18.run("CREATE ROLE service_role")
    migrate.upgrade(database_18.url)
    migrate.downgrade(database_18.url)
    assert database_18.rows(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)", list(ROLES)
    ) == [("service_role",)]


def test_a_role_that_another_database_uses_stays(server: Server, caplog: pytest.LogCaptureFixture):
    first, second = server.create_database(), server.create_database()
    migrate.upgrade(first.url)
    migrate.upgrade(second.url)
    migrate.downgrade(first.url)
    assert "role service_role stays" in "\n".join(caplog.messages)
    assert second.rows("SELECT has_schema_privilege('service_role', 'sqp', 'USAGE')") == [(True,)]
    migrate.downgrade(second.url)
    assert second.rows("SELECT FROM pg_roles WHERE rolname = ANY (%s)", list(ROLES)) == []


def test_a_role_with_members_stays(database_18: Database, caplog: pytest.LogCaptureFixture):
    migrate.upgrade(database_18.url)
    database_18.run("CREATE ROLE dashboard", "GRANT authenticated TO dashboard")
    migrate.downgrade(database_18.url)
    assert caplog.messages == ["role authenticated stays, because it has or is a member"]
    assert database_18.rows("SELECT pg_has_role('dashboard', 'authenticated', 'MEMBER')") == [
        (True,)
    ]


def test_a_role_made_later_gets_its_rights_by_migrating_again(server: Server):
    owner = server.create_user("plain_owner")
    as_superuser = server.create_database(owner)
    database = as_superuser.as_user(owner)
    migrate.upgrade(database.url)
    as_superuser.run("CREATE ROLE service_role")
    migrate.downgrade(database.url, "0004")
    migrate.upgrade(database.url)
    assert database.rows(ALLOWED, "service_role", "sqp.refresh_config") == [(True,)]
