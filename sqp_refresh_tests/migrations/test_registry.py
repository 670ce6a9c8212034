"""Check the registry after a migration, and how a new table gets into it."""

import re
from typing import LiteralString, cast

import psycopg
import pytest

from sqp_refresh.errors import RefreshError
from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres import migrate
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh_tests.migrations.servers import Database

REGISTERED = """
SELECT table_name, priority, is_enabled, refresh_frequency_hours, custom_sync_params,
    extract(hour FROM next_refresh_at - created_at)::integer
FROM sqp.refresh_config WHERE table_schema = 'sqp' ORDER BY id
"""
DEPENDENCIES = """
SELECT dependent.table_name, parent.table_name, dependency_type
FROM sqp.refresh_dependencies
JOIN sqp.refresh_config AS parent ON parent.id = parent_config_id
JOIN sqp.refresh_config AS dependent ON dependent.id = dependent_config_id
"""
NEW = "SELECT table_name, is_enabled FROM sqp.refresh_config WHERE NOT table_name = ANY (%s)"


def test_the_registry_holds_the_eight_tables(database: Database):
    migrate.upgrade(database.url)
    hours = [1, 1, 2, 2, 3, 3, 4, 4]
    assert database.rows(REGISTERED) == [
        (table.name, table.priority, True, 24, {}, hour)
        for table, hour in zip(TABLES.values(), hours, strict=True)
    ]


def test_the_dependencies_are_those_of_the_tables(database: Database):
    migrate.upgrade(database.url)
    rows = database.rows(DEPENDENCIES)
    assert len(rows) == 10
    assert set(rows) == {
        (table.name, parent, dependency.value)
        for table in TABLES.values()
        for parent, dependency in table.parents.items()
    }


def test_a_new_table_registers_itself_disabled(database: Database):
    migrate.upgrade(database.url)
    database.run(
        "CREATE TABLE sqp.ninth (asin text)",
        "CREATE TABLE sqp.tenth AS SELECT 1 AS one",
        "CREATE TABLE sqp.refresh_of_ours (id int)",
        "CREATE TABLE public.elsewhere (id int)",
        "CREATE TEMP TABLE passing (id int)",
        "CREATE UNLOGGED TABLE sqp.staging (id int)",
        "CREATE TABLE sqp.parted (id int) PARTITION BY RANGE (id)",
        "CREATE TABLE sqp.parted_1 PARTITION OF sqp.parted FOR VALUES FROM (0) TO (1)",
    )
    assert sorted(database.rows(NEW, list(TABLES))) == [
        ("ninth", False),
        ("parted", False),
        ("tenth", False),
    ]


def test_whoever_may_create_a_table_need_not_write_the_registry(database_18: Database):
    migrate.upgrade(database_18.url)
    database_18.run("CREATE ROLE guest LOGIN", "GRANT CREATE ON SCHEMA sqp TO guest")
    database_18.as_user("guest").run("CREATE TABLE sqp.of_a_guest (id int)")
    assert database_18.rows(NEW, list(TABLES)) == [("of_a_guest", False)]


def test_a_control_table_cannot_be_registered(database_18: Database):
    migrate.upgrade(database_18.url)
    for name in ("refresh_config", "refresh_audit_log", "webhook_configs", "alembic_version"):
        with pytest.raises(psycopg.errors.CheckViolation, match="is_no_control_table"):
            database_18.rows("INSERT INTO sqp.refresh_config (table_name) VALUES (%s)", name)


def test_what_operators_changed_is_kept_by_a_second_run(database_18: Database):
    migrate.upgrade(database_18.url)
    database_18.run("UPDATE sqp.refresh_config SET is_enabled = false, priority = 1")
    migrate.upgrade(database_18.url)
    assert database_18.rows("SELECT DISTINCT is_enabled, priority FROM sqp.refresh_config") == [
        (False, 1)
    ]


def test_the_parameters_that_postgres_accepts_are_those_that_are_read(database_18: Database):
    migrate.upgrade(database_18.url)
    ((definition,),) = database_18.rows(
        "SELECT pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conname = 'refresh_config_knows_each_parameter'"
    )
    keys = {key for key in re.findall(r"'(\w+)'::text", definition) if key != "object"}
    assert keys == SyncParams.model_fields.keys()


def test_an_upgrade_names_a_parameter_that_there_is_not(database_18: Database):
    migrate.upgrade(database_18.url, "0017")
    database_18.run(
        """UPDATE sqp.refresh_config SET custom_sync_params = '{"lookback_week": 12, "key": []}'"""
        " WHERE table_name = 'daily_sqp_data'"
    )

    with pytest.raises(
        RefreshError, match="daily_sqp_data has parameters that there are not"
    ) as error:
        migrate.upgrade(database_18.url)

    remedy = re.search(r"by (UPDATE .*?); then migrate again", str(error.value))
    assert remedy, error.value
    database_18.rows(cast(LiteralString, remedy[1]))
    migrate.upgrade(database_18.url)
    assert database_18.rows(
        "SELECT custom_sync_params FROM sqp.refresh_config WHERE table_name = 'daily_sqp_data'"
    ) == [({"key": []},)]
