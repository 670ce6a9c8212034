"""Test that a doctor names who else may put functions into the search path, and what uses some."""

from urllib.parse import urlsplit

import pytest

from sqp_refresh.errors import SettingsError
from sqp_refresh.monitoring.doctor.foreign_code import check_search_path
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.database import execute


@pytest.fixture
def writer(migrated_database):
    """A role with no right; it is dropped with everything that it owns."""
    execute(migrated_database, "CREATE ROLE writer")
    yield "writer"
    execute(migrated_database, "DROP OWNED BY writer CASCADE")
    execute(migrated_database, "DROP ROLE writer")


def check(url: str) -> str:
    with connect(url) as session:
        return check_search_path(session)


def problem(url: str) -> str:
    with pytest.raises(SettingsError) as raised:
        check(url)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_new_database_has_no_schema_that_others_write_to(migrated_database):
    assert check(migrated_database).startswith("nobody else may put functions into public of")


def test_a_schema_of_the_path_that_others_may_write_to_is_named(migrated_database, writer):
    execute(migrated_database, "GRANT CREATE ON SCHEMA public TO PUBLIC")
    assert problem(migrated_database).endswith("; REVOKE CREATE ON SCHEMA public FROM PUBLIC")

    execute(migrated_database, "GRANT CREATE ON SCHEMA public TO writer")
    assert "REVOKE CREATE ON SCHEMA public FROM PUBLIC, writer" in problem(migrated_database)

    execute(migrated_database, "REVOKE CREATE ON SCHEMA public FROM PUBLIC, writer")
    check(migrated_database)


def test_the_path_is_the_user_s_own(migrated_database, writer):
    execute(migrated_database, 'CREATE SCHEMA "Tools"; GRANT CREATE ON SCHEMA "Tools" TO writer')
    execute(migrated_database, "CREATE SCHEMA theirs AUTHORIZATION writer")
    check(migrated_database)

    name = urlsplit(migrated_database).path.removeprefix("/")
    path = f'ALTER DATABASE {name} SET search_path TO "Tools", theirs, public'
    execute(migrated_database, path)

    message = problem(migrated_database)
    assert 'REVOKE CREATE ON SCHEMA "Tools" FROM writer' in message
    assert "ALTER SCHEMA theirs OWNER TO" in message


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        (
            "CREATE OR REPLACE VIEW sqp.refresh_success_rate AS SELECT table_name, success_rate,"
            " avg_execution_time_ms, public.planted(last_successful_refresh)"
            " AS last_successful_refresh FROM ({definition}) AS _",
            "sqp.refresh_success_rate uses function public.planted(timestamp with time zone)",
        ),
        (
            "ALTER TABLE sqp.refresh_config ALTER created_at SET DEFAULT public.planted(now())",
            "sqp.refresh_config uses function public.planted(timestamp with time zone)",
        ),
        (
            "CREATE INDEX ON sqp.weekly_summary (public.planted(created_at))",
            "sqp.weekly_summary uses function public.planted(timestamp with time zone)",
        ),
    ],
)
def test_a_view_or_table_that_uses_a_function_of_others_is_named(
    migrated_database, statement, named
):
    execute(
        migrated_database,
        "CREATE FUNCTION public.planted(timestamptz) RETURNS timestamptz LANGUAGE sql IMMUTABLE"
        " AS 'SELECT $1'",
    )
    with connect(migrated_database) as session:
        query = "SELECT rtrim(pg_get_viewdef('sqp.refresh_success_rate'::regclass), ';')"
        (definition,) = session.fetch_one(query)
    execute(migrated_database, statement.format(definition=definition))

    message = problem(migrated_database)
    assert named in message
    assert "`sqp-refresh migrate --sql`" in message
