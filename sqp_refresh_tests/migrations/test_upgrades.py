"""Migrate a database with rows from every earlier version to this one and back, without loss."""

from typing import Any, LiteralString

import pytest
from psycopg import sql

from sqp_refresh.postgres import migrate
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh_tests.migrations.one_week import WEEK, OneWeek
from sqp_refresh_tests.migrations.servers import VERSIONS, Database

EARLIER = VERSIONS[:-1]
LONG_AGO = "2024-08-18"
QUERIES = "SELECT search_query FROM sqp.search_query_performance WHERE start_date = %s ORDER BY 1"

# Values for all columns of a target that have no default.
VALUES = {"date": LONG_AGO, "text": "x"}
# The fourth version fills these, and a downgrade empties them.
REGISTRY = ("refresh_config", "refresh_dependencies")
CONTROL: dict[str, LiteralString] = {
    "refresh_config": """
        INSERT INTO sqp.refresh_config (table_name, priority, custom_sync_params)
        VALUES ('weekly_summary', 7, '{}'), ('search_query_performance', 8, '{"batch_size": 9}')
        ON CONFLICT (table_schema, table_name) DO UPDATE
        SET priority = EXCLUDED.priority, custom_sync_params = EXCLUDED.custom_sync_params
    """,
    "refresh_dependencies": """
        INSERT INTO sqp.refresh_dependencies
            (parent_config_id, dependent_config_id, dependency_type)
        SELECT parent.id, dependent.id, 'soft'
        FROM sqp.refresh_config AS parent, sqp.refresh_config AS dependent
        WHERE parent.table_name = 'search_query_performance'
            AND dependent.table_name = 'weekly_summary'
        ON CONFLICT (parent_config_id, dependent_config_id) DO UPDATE
        SET dependency_type = EXCLUDED.dependency_type
    """,
    "refresh_audit_log": """
        INSERT INTO sqp.refresh_audit_log (table_name, status, refresh_completed_at)
        VALUES ('weekly_summary', 'success', now()), ('search_query_performance', 'running', NULL)
    """,
    "refresh_audit_log_archive": """
        INSERT INTO sqp.refresh_audit_log_archive (
            id, table_schema, table_name, refresh_started_at, status, sync_metadata, created_at
        ) VALUES (0, 'sqp', 'weekly_summary', now(), 'success', '{"run_id": "old"}', now())
    """,
    "refresh_checkpoints": """
        INSERT INTO sqp.refresh_checkpoints (function_name, table_name, checkpoint_data)
        VALUES ('refresh', 'search_query_performance', '{"published": 3}')
    """,
    "refresh_data_quality": """
        INSERT INTO sqp.refresh_data_quality (audit_log_id, metric_name, metric_value)
        SELECT min(id), 'row_count', 3 FROM sqp.refresh_audit_log
    """,
    "refresh_quarantine": """
        INSERT INTO sqp.refresh_quarantine (audit_log_id, table_name, raw_row, reasons)
        SELECT min(id), 'search_query_performance', '{"Date": null}', '{no date}'
        FROM sqp.refresh_audit_log
    """,
    "webhook_configs": """
        INSERT INTO sqp.webhook_configs (name, url, events)
        VALUES ('team', 'https://hooks.example.com', '{refresh.failed}')
    """,
    "webhook_deliveries": """
        INSERT INTO sqp.webhook_deliveries (webhook_config_id, audit_log_id, event, payload)
        SELECT config.id, NULL, 'refresh.failed', '{"severity": "high"}'
        FROM sqp.webhook_configs AS config
    """,
    "refresh_periods": """
        INSERT INTO sqp.refresh_periods (
            table_name, period_start, period_end, target_state, row_count, changed_by, published_by
        ) VALUES ('weekly_summary', '2024-08-18', '2024-08-24', 'x', 1, 1, 1)
    """,
    "refresh_indexes": """
        INSERT INTO sqp.refresh_indexes (table_name, index_name, column_names)
        VALUES ('weekly_summary', 'weekly_summary_asin_idx', '{asin,period_start}')
    """,
    "refresh_proofs": """
        INSERT INTO sqp.refresh_proofs (
            table_name, period_start, period_end, audit_log_id, source, target, is_equal, sha256
        ) VALUES ('weekly_summary', '2024-08-18', '2024-08-24', 1, '{}', '{}', true, 'x')
    """,
    "refresh_history": """
        INSERT INTO sqp.refresh_history (
            audit_log_id, table_name, period_start, key, operation, before
        ) VALUES (1, 'weekly_summary', '2024-08-18', '{}', 'update', '{}')
    """,
    "refresh_pins": """
        INSERT INTO sqp.refresh_pins (table_name, period_start, reason)
        VALUES ('weekly_summary', '2024-08-18', 'rolled back')
    """,
    "refresh_requests": "INSERT INTO sqp.refresh_requests (force) VALUES (true)",
    "refresh_week_changes": """
        INSERT INTO sqp.refresh_week_changes (marketplace, week, rows, asins)
        VALUES ('US', '2024-08-18', 4, 2)
    """,
    "refresh_finality": "UPDATE sqp.refresh_finality SET arriving_nights = 5",
    "refresh_mutes": """
        INSERT INTO sqp.refresh_mutes (table_name, muted_until)
        VALUES ('weekly_summary', '2024-08-18')
    """,
    "refresh_switches": """
        INSERT INTO sqp.refresh_switches (table_name, is_enabled) VALUES ('weekly_summary', true)
        ON CONFLICT DO NOTHING
    """,
    "refresh_comparisons": """
        INSERT INTO sqp.refresh_comparisons (table_name) VALUES ('weekly_summary')
    """,
}
"""A row for each control table, by the columns that it has had since it came."""

Rows = dict[str, list[dict[str, Any]]]


def tables(database: Database) -> list[str]:
    names = database.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'sqp'::regnamespace"
        " AND relkind = 'r' AND relname <> 'alembic_version' ORDER BY relname"
    )
    return [name for (name,) in names]


def fill(database: Database) -> None:
    """Insert a row into every table, and two rows of a week that is refreshed afterwards."""
    existing = tables(database)
    for name in existing:
        if not name.startswith(("refresh_", "webhook_")):
            fill_target(database, name)
    for name, statement in CONTROL.items():
        if name in existing:
            database.run(statement)
    for query in ("a", "gone"):
        database.rows(
            "INSERT INTO sqp.search_query_performance"
            " (marketplace, start_date, end_date, asin, search_query)"
            " VALUES ('x', %s, %s, 'x', %s)",
            str(WEEK.start),
            str(WEEK.end),
            query,
        )


def fill_target(database: Database, name: str) -> None:
    columns = database.rows(
        "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = ('sqp.' || %s)::regclass AND attnum > 0"
        " AND attnotnull AND NOT atthasdef",
        name,
    )
    row = {column: VALUES[kind] for column, kind in columns}
    insert = sql.SQL("INSERT INTO sqp.{} ({}) VALUES ({})").format(
        sql.Identifier(name),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Literal, row.values())),
    )
    database.rows(insert)


def rows_of(database: Database) -> Rows:
    """Return every row of every table as JSON."""
    every = sql.SQL("SELECT to_jsonb(row) FROM sqp.{} AS row")
    return {
        name: [row for (row,) in database.rows(every.format(sql.Identifier(name)))]
        for name in tables(database)
    }


def assert_kept(before: Rows, after: Rows) -> None:
    """Assert that each row is unchanged in the tables and columns of both versions."""
    for name in before.keys() & after.keys():
        for row in before[name]:
            assert any(
                all(row[column] == now[column] for column in row.keys() & now.keys())
                for now in after[name]
            ), f"{name} no longer holds {row}"


@pytest.mark.parametrize("version", EARLIER)
def test_rows_survive_an_upgrade_and_are_refreshed_after_it(database_18: Database, version: str):
    database = database_18
    migrate.upgrade(database.url, version)
    fill(database)
    before = rows_of(database)
    empty = [name for name, rows in before.items() if not rows]
    assert not empty, f"fill {empty} too"

    migrate.upgrade(database.url)
    assert_kept(before, rows_of(database))
    counts = refresh(database.url, OneWeek(["a", "b"]), RefreshRequest("after")).counts

    assert database.rows(QUERIES, LONG_AGO) == [("x",)]
    assert database.rows(QUERIES, WEEK.start) == [("a",), ("b",)]
    assert (counts.updated, counts.inserted, counts.deleted) == (1, 1, 1)


@pytest.mark.parametrize("version", EARLIER)
def test_rows_survive_the_way_back_where_the_earlier_version_has_a_place_for_them(
    database_18: Database, version: str
):
    database = database_18
    migrate.upgrade(database.url)
    fill(database)
    before = rows_of(database)
    if version < "0004":
        before = {name: rows for name, rows in before.items() if name not in REGISTRY}

    migrate.downgrade(database.url, version)

    assert_kept(before, rows_of(database))
    migrate.upgrade(database.url)
    assert migrate.is_at_newest_revision(database.url)
