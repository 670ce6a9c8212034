"""Compare the migrated targets with `tables.py`."""

from sqp_refresh.model.tables import TABLES, Table
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.migration_files import read_file
from sqp_refresh.postgres.schema_catalog import SCHEMA_FILE, read_schema
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.migrations.schema_file import as_file
from sqp_refresh_tests.migrations.servers import Database

COLUMNS = """
SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, d.adbin IS NOT NULL
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = %s::regclass AND a.attnum > 0
ORDER BY a.attnum
"""
INDEXES = """
SELECT indisprimary, array_agg(attname::text ORDER BY position)
FROM pg_index, unnest(indkey::smallint[]) WITH ORDINALITY AS key (attnum, position)
JOIN pg_attribute USING (attnum)
WHERE indrelid = %s::regclass AND attrelid = indrelid
GROUP BY indexrelid, indisprimary
"""
UNCOMMENTED = """
SELECT c.oid::regclass::text, a.attname::text
FROM pg_class c
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND c.relname = ANY (%s)
WHERE c.relnamespace = 'sqp'::regnamespace AND c.relkind IN ('r', 'v')
  AND c.relname <> 'alembic_version'
  AND (obj_description(c.oid, 'pg_class') IS NULL
       OR (a.attnum IS NOT NULL AND col_description(c.oid, a.attnum) IS NULL))
"""
COMMENTS = """
SELECT attname::text, col_description(attrelid, attnum)
FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0
"""
STAMP = "timestamp with time zone"


def expected(table: Table) -> list[tuple[str, str, bool, bool]]:
    columns = [(c.name, c.type, c in table.key, False) for c in table.columns]
    return [*columns, ("created_at", STAMP, True, True), ("updated_at", STAMP, True, True)]


def test_the_catalog_equals_the_tables_and_the_file_of_this_release(database: Database):
    migrate.upgrade(database.url)
    with connect(database.url) as session:
        is_current = as_file(read_schema(session)) == read_file(SCHEMA_FILE)
    assert is_current, "write it anew by: python -m sqp_refresh_tests.migrations.schema_file"
    for table in TABLES.values():
        assert database.rows(COLUMNS, f"sqp.{table.name}") == expected(table), table.name


def test_the_indexes_are_the_key_and_one_for_each_way_to_look(database: Database):
    migrate.upgrade(database.url)
    for table in TABLES.values():
        key = [column.name for column in table.key]
        looks = [[name, table.scope] for name in ("asin", "search_query") if name in key]
        assert key[0] == table.scope
        assert sorted(database.rows(INDEXES, f"sqp.{table.name}")) == sorted(
            [(True, key), *((False, look) for look in looks)]
        ), table.name


def test_the_schema_says_what_it_means(database: Database):
    migrate.upgrade(database.url)
    assert database.rows(UNCOMMENTED, list(TABLES)) == []


def test_a_comment_gives_meaning_and_unit(database_18: Database):
    migrate.upgrade(database_18.url)
    for table in TABLES.values():
        comments = dict(database_18.rows(COMMENTS, f"sqp.{table.name}"))
        for column in table.columns:
            comment = comments[column.name]
            assert comment.lower().startswith(column.description.lower())
            if column.type.startswith("numeric"):
                assert comment.endswith(("(percent)", "(marketplace currency)"))
