"""Views, functions and triggers that a script replaced are named by the doctor, and put back."""

import psycopg
import pytest

from sqp_refresh.errors import RefreshError
from sqp_refresh.monitoring.doctor.postgres_checks import check_definitions
from sqp_refresh.postgres.migration_files import read_file
from sqp_refresh.postgres.release_definitions import (
    DEFINITIONS_FILE,
    find_changes,
    put_back,
    read_definitions,
)
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.migrations.schema_file import as_json
from sqp_refresh_tests.servers.running import on_other_servers

OF_THE_GUIDE = """
CREATE OR REPLACE VIEW sqp.refresh_success_rate AS
SELECT
    table_name,
    COUNT(*) FILTER (WHERE status = 'success') * 100.0 / COUNT(*) as success_rate,
    AVG(execution_time_ms) as avg_execution_time_ms,
    MAX(refresh_completed_at) as last_successful_refresh
FROM sqp.refresh_audit_log
WHERE refresh_started_at > NOW() - INTERVAL '7 days'
GROUP BY table_name;

CREATE OR REPLACE VIEW sqp.data_quality_overview AS
SELECT
    dq.metric_name,
    COUNT(*) FILTER (WHERE is_within_threshold) * 100.0 / COUNT(*) as pass_rate,
    COUNT(*) as total_checks
FROM sqp.refresh_data_quality dq
JOIN sqp.refresh_audit_log al ON dq.audit_log_id = al.id
WHERE al.refresh_started_at > NOW() - INTERVAL '7 days'
GROUP BY dq.metric_name;
"""
"""The two views as the older system's guide makes them."""

# Each is made so that the other parts stay: by what statement, and what is then named.
REPLACED = {
    "view refresh_costs": "ALTER VIEW sqp.refresh_costs RESET (security_invoker)",
    "view refresh_retries": (
        "CREATE OR REPLACE VIEW sqp.refresh_retries WITH (security_invoker = true) AS"
        " SELECT *, 1 AS added FROM ({query}) AS before"
    ),
    "function touch_updated_at()": (
        "CREATE OR REPLACE FUNCTION sqp.touch_updated_at() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'"
    ),
    "trigger refresh_config_touch_updated_at of refresh_config": (
        "ALTER TABLE sqp.refresh_config DISABLE TRIGGER refresh_config_touch_updated_at"
    ),
    "trigger webhook_configs_touch_updated_at of webhook_configs": (
        "DROP TRIGGER webhook_configs_touch_updated_at ON sqp.webhook_configs"
    ),
    "event trigger sqp_register_new_table": ("ALTER EVENT TRIGGER sqp_register_new_table DISABLE"),
}


def changed(url: str) -> list[str]:
    with connect(url) as session, session.transaction():
        return [change.subject for change in find_changes(session)]


def test_the_file_is_what_the_migrations_make(migrated_database):
    with connect(migrated_database) as session:
        is_current = as_json(read_definitions(session)) == read_file(DEFINITIONS_FILE)
    assert is_current, "write it anew by: python -m sqp_refresh_tests.migrations.schema_file"
    assert changed(migrated_database) == []


@on_other_servers
def test_another_server_prints_its_views_otherwise_and_none_differs(migrated_database):
    assert changed(migrated_database) == []


def test_the_older_guide_s_views_are_named_and_put_back_with_their_rights(
    environment, migrated_database
):
    execute(
        migrated_database, "CREATE ROLE reader; GRANT SELECT ON sqp.refresh_success_rate TO reader"
    )
    try:
        before = traces(migrated_database)
        execute(migrated_database, OF_THE_GUIDE)
        assert traces(migrated_database) != before

        printed = sqp_refresh("doctor").stdout
        for view in ("refresh_success_rate", "data_quality_overview"):
            assert (
                f"view sqp.{view} is not as this release makes it; `sqp-refresh migrate`" in printed
            )
        assert set(output("migrate").splitlines()) == {
            "put back view refresh_success_rate",
            "put back view data_quality_overview",
        }
        assert traces(migrated_database) == before
        assert "is not as this release" not in sqp_refresh("doctor").stdout
        assert output("migrate") == "nothing to do"
    finally:
        execute(migrated_database, "DROP OWNED BY reader; DROP ROLE reader")


def traces(url: str) -> list[tuple]:
    """What the views are, with their options, rights and comments."""
    return rows(
        url,
        "SELECT relname, pg_get_viewdef(oid), reloptions, relacl::text, obj_description(oid)"
        " FROM pg_class WHERE relnamespace = 'sqp'::regnamespace AND relkind = 'v' ORDER BY 1",
    )


def test_whatever_was_replaced_is_named_and_put_back(migrated_database):
    with psycopg.connect(migrated_database) as connection:
        before = {"traces": traces(migrated_database)}
        query = "SELECT rtrim(pg_get_viewdef('sqp.refresh_retries'::regclass), ';')"
        ((text,),) = connection.execute(query).fetchall()
        for statement in REPLACED.values():
            connection.execute(statement.replace("{query}", text).encode())

    assert sorted(changed(migrated_database)) == sorted(REPLACED)
    with connect(migrated_database) as session:
        with pytest.raises(RefreshError, match="event trigger sqp_register_new_table is not as"):
            check_definitions(session)
        with session.transaction():
            assert sorted(put_back(session)) == sorted(REPLACED)
    assert changed(migrated_database) == []
    assert traces(migrated_database) == before["traces"]


def test_a_view_that_others_build_on_is_not_dropped_from_under_them(migrated_database):
    execute(
        migrated_database,
        "DROP VIEW sqp.refresh_costs; CREATE VIEW sqp.refresh_costs AS SELECT 1 AS mine;"
        "CREATE VIEW public.theirs AS SELECT mine FROM sqp.refresh_costs",
    )
    refused = pytest.raises(RefreshError, match=r"costs is not .* other objects depend")
    with connect(migrated_database) as session, refused, session.transaction():
        put_back(session)
    assert rows(migrated_database, "SELECT mine FROM public.theirs") == [(1,)]


def test_views_that_are_gone_are_made_again_and_none_is_where_a_table_lacks_a_column(
    environment, migrated_database
):
    before = [(name, query, options) for name, query, options, *_ in traces(migrated_database)]
    execute(
        migrated_database,
        "DROP VIEW sqp.refresh_runs CASCADE; DROP FUNCTION sqp.week_finality_at CASCADE",
    )
    put_back_now = sqp_refresh("migrate").stdout
    assert "put back view refresh_runs\n" in put_back_now
    assert "put back view latest_final_week\n" in put_back_now
    after = [(name, query, options) for name, query, options, *_ in traces(migrated_database)]
    assert after == before

    execute(migrated_database, "ALTER TABLE sqp.refresh_config DROP COLUMN priority CASCADE")
    assert "lacks column priority" in sqp_refresh("migrate").stderr
    assert changed(migrated_database) == []


def test_a_read_only_database_is_not_compared(migrated_database):
    with connect(migrated_database) as session, session.transaction():
        session.execute("SET TRANSACTION READ ONLY")
        assert find_changes(session) == []
