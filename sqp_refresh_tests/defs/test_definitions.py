"""The code location loaded, and compared as data with the spec and with the registry."""

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest

import sqp_refresh
from sqp_refresh.definitions import defs
from sqp_refresh.defs import dagster_internals
from sqp_refresh.defs.cron import last_tick, read_cron
from sqp_refresh.errors import SettingsError
from sqp_refresh.model.tables import TABLES
from sqp_refresh.monitoring.views import VIEWS
from sqp_refresh.settings import Settings

WEEKLY = {
    "asin_performance_data",
    "search_query_performance",
    "search_performance_summary",
    "daily_sqp_data",
    "weekly_summary",
}
TABLE_KEYS = {dg.AssetKey(["sqp", table]) for table in TABLES}
DASHBOARD = dg.AssetKey(["sqp_refresh", "dashboard"])
SOURCE = dg.AssetKey(["bigquery", "seller-search_query_performance"])


@pytest.fixture
def graph():
    return defs().resolve_asset_graph()


def test_the_definitions_are_loadable():
    dg.Definitions.validate_loadable(defs())


def test_there_is_an_asset_for_each_table_the_source_is_observed_and_views_are_neither(graph):
    views = {dg.AssetKey(["sqp", view]) for view in VIEWS}

    assert graph.materializable_asset_keys == {*TABLE_KEYS, DASHBOARD}
    assert graph.observable_asset_keys == {SOURCE}
    assert views <= graph.unexecutable_asset_keys == graph.external_asset_keys - {SOURCE}
    nightly = graph.get(dg.AssetKey(["sqp", "refresh_nightly"]))
    assert nightly.parent_keys == {dg.AssetKey(["sqp", "refresh_runs"])}


def test_the_graph_says_what_the_registry_says(graph, migrated_database):
    with psycopg.connect(migrated_database) as connection:
        registered = connection.execute(
            "SELECT parent.table_name, dependent.table_name FROM sqp.refresh_dependencies"
            " JOIN sqp.refresh_config AS parent ON parent.id = parent_config_id"
            " JOIN sqp.refresh_config AS dependent ON dependent.id = dependent_config_id"
        ).fetchall()
    drawn = [
        (parent.path[-1], key.path[-1])
        for key in TABLE_KEYS
        for parent in graph.get(key).parent_keys
        if parent != SOURCE
    ]

    assert len(registered) == 10
    assert sorted(drawn) == sorted(registered)


def test_what_bigquery_fills_depends_on_the_source(graph):
    fed = {key.path[-1] for key in graph.get(SOURCE).child_keys}

    assert fed == {"asin_performance_data", "search_query_performance", "daily_sqp_data"}


def test_weekly_tables_share_the_weeks_and_a_range_of_them_is_one_step(graph):
    assert graph.get(DASHBOARD).backfill_policy == dg.BackfillPolicy.single_run()
    for key in TABLE_KEYS:
        node = graph.get(key)
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
        if key.path[-1] in WEEKLY:
            keys = node.partitions_def.get_partition_keys(datetime(2024, 9, 10, tzinfo=UTC))
            assert keys == ["2024-08-18", "2024-08-25", "2024-09-01"]
        else:
            assert node.partitions_def is None


def test_the_first_week_is_a_setting(monkeypatch):
    monkeypatch.setenv("REFRESH_START_DATE", "2025-01-05")
    node = defs().resolve_asset_graph().get(dg.AssetKey(["sqp", "weekly_summary"]))

    assert node.partitions_def
    assert node.partitions_def.get_first_partition_key() == "2025-01-05"


def test_every_asset_says_what_a_row_is_and_what_its_columns_mean(graph):
    for key in TABLE_KEYS:
        node = graph.get(key)
        assert node.description.startswith("One row is one ASIN")
        assert node.metadata["dagster/table_name"] == f"sqp.{key.path[-1]}"
        (source_code,) = node.metadata["dagster/code_references"].code_references
        assert source_code.file_path.endswith("sqp_refresh/defs/assets.py")
        columns = node.metadata["dagster/column_schema"].columns
        assert [column.name for column in columns] == [
            column.name for column in TABLES[key.path[-1]].columns
        ]
        assert all(column.description for column in columns)


def test_every_asset_says_where_it_is_and_no_password(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:secret@db.example.com:6543/agency")
    monkeypatch.setenv("BIGQUERY_PROJECT_ID", "example.com:project")
    monkeypatch.setenv("BIGQUERY_DATASET", "agency_85")
    monkeypatch.setenv("REFRESH_OWNERS", "ann@example.com, team:data")
    graph = defs().resolve_asset_graph()

    for name in ("weekly_summary", "refresh_nightly"):
        node = graph.get(dg.AssetKey(["sqp", name]))
        assert node.metadata["dagster/table_name"] == f"agency.sqp.{name}"
        assert node.metadata["dagster/uri"] == (
            f"postgresql://db.example.com:6543/agency/sqp/{name}"
        )
        assert node.metadata["dagster/storage_kind"] == "postgres"
    source = graph.get(SOURCE)
    name = "seller-search_query_performance"
    assert source.metadata["dagster/table_name"] == f"example.com:project.agency_85.{name}"
    assert source.metadata["dagster/uri"] == f"bigquery://example.com:project/agency_85/{name}"
    assert source.metadata["dagster/storage_kind"] == "bigquery"
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    assert {tuple(node.owners) for node in nodes} == {("ann@example.com", "team:data")}
    assert "secret" not in str([node.metadata for node in nodes])


def test_what_is_no_owner_is_named(monkeypatch):
    monkeypatch.setenv("REFRESH_OWNERS", "team:data, ann")

    with pytest.raises(SettingsError, match="REFRESH_OWNERS has 'ann'; write an e-mail address"):
        Settings.read()


def test_the_job_takes_all_tables():
    job = defs().resolve_job_def("daily_refresh")

    assert {key.path[-1] for key in job.asset_layer.executable_asset_keys} == set(TABLES)


def test_the_schedule_is_nightly():
    schedule = defs().resolve_schedule_def("daily_refresh_schedule")

    assert schedule.cron_schedule == "0 2 * * *"
    assert schedule.execution_timezone == "UTC"
    assert schedule.job_name == "daily_refresh"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING


def test_the_cron_is_a_setting(monkeypatch):
    monkeypatch.setenv("REFRESH_CRON", "0 3 * * *")

    assert defs().resolve_schedule_def("daily_refresh_schedule").cron_schedule == "0 3 * * *"


def test_the_executor_is_a_setting(monkeypatch):
    assert defs().executor is dg.in_process_executor

    monkeypatch.setenv("REFRESH_EXECUTOR", "multiprocess")
    assert defs().executor is dg.multiprocess_executor


def test_a_table_has_a_pool_of_its_own_and_of_its_dataset(graph, monkeypatch):
    key = dg.AssetKey(["sqp", "weekly_summary"])
    pools = {graph.get(dg.AssetKey(["sqp", name])).assets_def.op.pool for name in TABLES}
    assert pools == {f"sqp/{table}" for table in TABLES}

    monkeypatch.setenv("BIGQUERY_DATASET", "agency_86")
    other = defs().resolve_asset_graph().get(key)
    assert other.assets_def.op.pool == "agency_86/sqp/weekly_summary"


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("every night", "is not a cron expression, with 2 fields instead of 5"),
        ("0 0 2 * * *", "is not a cron expression, with 6 fields instead of 5"),
        ("61 2 * * *", "is not a cron expression; write it as minute"),
        ("0 2 * * MUN", "is not a cron expression; write it as minute"),
        ("0 2 30 2 *", "is not a cron expression; write it as minute"),
        ("0 2 31 4 *", "never comes"),
        ("0 2 31 APR,6 *", "never comes"),
    ],
)
def test_a_cron_that_is_none_is_named(monkeypatch, cron, problem):
    monkeypatch.setenv("REFRESH_CRON", cron)

    with pytest.raises(SettingsError, match=re.escape(f"REFRESH_CRON {cron!r} {problem}")):
        read_cron(Settings.read())


@pytest.mark.parametrize("cron", ["@daily", "0 2 * * MON-FRI", "0 2 29 2 *", "0 2 * * 7"])
def test_a_cron_may_be_written_in_other_ways(monkeypatch, cron):
    monkeypatch.setenv("REFRESH_CRON", cron)

    assert read_cron(Settings.read()) == cron
    assert last_tick(Settings.read(), datetime.now(UTC)) < datetime.now(UTC)


def test_a_cron_that_never_comes_is_an_error_of_the_code_location(monkeypatch):
    monkeypatch.setenv("REFRESH_CRON", "0 2 31 4 *")

    with pytest.raises(SettingsError, match="never comes"):
        defs()


def test_loading_connects_to_nothing_and_imports_no_client():
    program = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a connection was made')\n"
        "socket.socket.connect = refuse\n"
        "from sqp_refresh.definitions import defs\n"
        "defs().resolve_asset_graph()\n"
        "late = {'google.cloud.bigquery', 'dagster_gcp', 'pandas', 'polars'}\n"
        "late |= {'altair', 'vl_convert'}\n"
        "print(sorted(late & sys.modules.keys()))\n"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_dagster_still_has_every_private_name_and_each_is_used():
    package = Path(sqp_refresh.__file__).parent
    code = "".join(
        file.read_text() for file in package.rglob("*.py") if file.name != "dagster_internals.py"
    )

    for name in dagster_internals.__all__:
        assert hasattr(dagster_internals, name)
        assert re.search(rf"\b{name}\b", code), f"{name} is used nowhere"


def test_only_one_module_imports_what_is_private_to_dagster():
    private = re.compile(r"^ *(?:from|import) dagster\w*(?:\.\w+)*\._", re.MULTILINE)
    files = Path(sqp_refresh.__file__).parent.rglob("*.py")

    assert [file.name for file in files if private.search(file.read_text())] == [
        "dagster_internals.py"
    ]
