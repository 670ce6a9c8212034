"""Check that each test gets a database and a source of its own, which it may change."""

import os

import psycopg
import pytest

from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.rows import SourceTable, row

TABLES = "SELECT count(*) FROM pg_tables WHERE schemaname = 'sqp'"
FRESH = "SELECT count(*) FROM pg_class WHERE relname = 'spoilt'"


def value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        ((first,),) = connection.execute(query.encode()).fetchall()
        return first


@pytest.mark.parametrize("time", [1, 2])
def test_a_database_is_empty(database: str, time: int):
    assert value(database, TABLES) == value(database, FRESH) == 0
    with psycopg.connect(database) as connection:
        connection.execute("CREATE TABLE spoilt ()")


@pytest.mark.parametrize("time", [1, 2])
def test_a_migrated_database_has_the_tables(migrated_database: str, time: int):
    assert value(migrated_database, TABLES) != 0
    assert value(migrated_database, FRESH) == 0
    with psycopg.connect(migrated_database) as connection:
        connection.execute("CREATE TABLE spoilt ()")


@pytest.mark.parametrize("time", [1, 2])
def test_a_source_is_a_test_s_own(source: SourceTable, time: int):
    source.write([row()])
    assert source.sql("SELECT COUNT(*) FROM {table}") == [(1,)]


def test_the_environment_is_of_this_test(
    environment: Settings, source: SourceTable, migrated_database: str
):
    assert Settings.read() == environment
    assert environment.source_table == source.name
    assert environment.database_url == migrated_database


def test_otherwise_no_setting_is_set():
    assert os.environ.keys().isdisjoint(Settings.model_fields)
    assert Settings.read() == Settings.model_construct()
