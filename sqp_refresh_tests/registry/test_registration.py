"""Test tables that operators register in SQL, with the guarantees of every other."""

import json
import re
from datetime import UTC, date, datetime, time
from decimal import Decimal

import dagster as dg
import psycopg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from sqp_refresh.definitions import defs
from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.demo.servers import bigquery_client
from sqp_refresh.demo.source_table import columns_of, create_source, load_rows
from sqp_refresh.model.periods import ALL_TIME, weeks_between
from sqp_refresh.model.tables import TABLES, Dependency
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry.catalog import merge_with_registry, read_catalog
from sqp_refresh.registry.refresh_config import Registration
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.weeks import FIRST, LAST

ADS = {
    "source_table": "ad spend",
    "key": ["day", "asin"],
    "columns": {"Day": "day", "ASIN Code": "asin", "Spend": "spend", "Is Active": "active"},
    "week_column": "Day",
}
BRANDS = {
    "source_table": "brand-names",
    "key": ["asin"],
    "columns": {"ASIN Code": "asin", "Brand": "brand"},
}
TARGETS = """
CREATE TABLE sqp.ad_spend (
    day date, asin text, spend numeric(8,2), active boolean, note text DEFAULT 'kept',
    created_at timestamptz DEFAULT now(), updated_at timestamptz DEFAULT now(),
    PRIMARY KEY (day, asin)
);
CREATE TABLE sqp.brand_names (asin text PRIMARY KEY, brand text);
COMMENT ON TABLE sqp.brand_names IS 'the brand of one ASIN';
"""


@pytest.fixture
def url(environment) -> str:
    execute(environment.database_url, TARGETS)
    return environment.database_url


def enter(url: str, table: str, params: dict, *, enabled: bool = True) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO sqp.refresh_config (table_name, is_enabled, custom_sync_params)"
            " VALUES (%s, %s, %s) ON CONFLICT (table_schema, table_name)"
            " DO UPDATE SET is_enabled = excluded.is_enabled,"
            " custom_sync_params = excluded.custom_sync_params",
            [table, enabled, json.dumps(params)],
        )


def deliver(emulator, dataset: str, table: str, delivered: pa.Table) -> None:
    with bigquery_client(emulator) as client:
        name = f"{emulator.project}.{dataset}.{table}"
        client.delete_table(name, not_found_ok=True)
        create_source(client, dataset, table, schema=columns_of(delivered.schema))
        load_rows(client, name, delivered)


def ads(*spent: tuple[date, str, str]) -> pa.Table:
    days, asins, spend = zip(*spent, strict=True)
    return pa.table(
        {
            "Day": pa.array(days, pa.date32()),
            "ASIN Code": pa.array(asins),
            "Spend": pa.array(map(Decimal, spend), pa.decimal128(38, 9)),
            "Is Active": pa.array([True] * len(days)),
        }
    )


def refreshed(settings, name: str, *, force: bool = False):
    table = read_catalog(settings).table(name)
    source = source_for(settings, table, list(weeks_between(FIRST, LAST)))
    return refresh(settings.database_url, source, RefreshRequest("r", force=force))


def test_days_that_are_midnights_elsewhere_are_told_and_instants_are_not(
    environment, emulator, dataset, url
):
    enter(url, "ad_spend", {**ADS, "source_table": "ad_spend"})
    made = ads((FIRST, "A", "1"), (FIRST, "B", "2"))

    def warnings_at(*times: time) -> list[str]:
        days = [datetime.combine(FIRST, at, UTC) for at in times]
        dated = made.set_column(0, "Day", pa.array(days, pa.timestamp("us", "UTC")))
        deliver(emulator, dataset, "ad_spend", dated)
        return refreshed(environment, "ad_spend").warnings

    assert warnings_at(time(14, 35), time(22)) == []
    (warning,) = warnings_at(time(22), time(22))
    assert warning.startswith("2 rows are not dated at midnight UTC but at 22:00")


def test_a_table_by_weeks_is_refreshed_with_every_guarantee(environment, emulator, dataset, url):
    enter(url, "ad_spend", {**ADS, "source_table": "ad_spend"})
    before = [(FIRST, "A", "1.005"), (date(2025, 7, 29), "A", "2"), (LAST, "B", "3")]
    deliver(emulator, dataset, "ad_spend", ads(*before))

    first = refreshed(environment, "ad_spend")
    again = refreshed(environment, "ad_spend")
    deliver(emulator, dataset, "ad_spend", ads(before[0], before[2], (LAST, "C", "4")))
    changed = refreshed(environment, "ad_spend")

    assert first.counts.inserted == 3
    assert again.counts.read == 0
    assert (changed.counts.inserted, changed.counts.deleted, changed.counts.updated) == (1, 1, 0)
    assert rows(url, "SELECT day, asin, spend, active, note FROM sqp.ad_spend ORDER BY 1, 2") == [
        (FIRST, "A", Decimal("1.01"), True, "kept"),
        (LAST, "B", Decimal("3.00"), True, "kept"),
        (LAST, "C", Decimal("4.00"), True, "kept"),
    ]
    log = rows(url, "SELECT table_name, status FROM sqp.refresh_audit_log")
    assert log == [("ad_spend", "success")] * 3


def test_a_table_without_weeks_is_refreshed_whole(environment, emulator, dataset, url):
    enter(url, "brand_names", {**BRANDS, "source_table": f"{dataset}.brand_names"})
    delivered = pa.table({"ASIN Code": ["A", "B", "C"], "Brand": ["x", "y", None]})
    deliver(emulator, dataset, "brand_names", delivered)

    first = refreshed(environment, "brand_names")
    again = refreshed(environment, "brand_names")
    renamed = delivered.set_column(1, "Brand", pa.array(["x", "y", "z"]))
    deliver(emulator, dataset, "brand_names", renamed)
    changed = refreshed(environment, "brand_names")
    deliver(emulator, dataset, "brand_names", renamed.slice(0, 2))
    fewer = refreshed(environment, "brand_names")

    assert list(first.periods) == [ALL_TIME]
    assert (first.counts.inserted, again.counts.read) == (3, 0)
    assert (changed.counts.updated, changed.reloaded) == (1, [])
    assert fewer.counts.deleted == 1
    assert rows(url, "SELECT asin, brand FROM sqp.brand_names ORDER BY 1") == [
        ("A", "x"),
        ("B", "y"),
    ]


def test_a_column_may_have_the_name_of_one_of_ours(environment, emulator, dataset, url):
    execute(url, "CREATE TABLE sqp.plans (code text PRIMARY KEY, weeks_count text)")
    columns = {"Code": "code", "Weeks": "weeks_count"}
    source = f"{dataset}.plans"
    enter(url, "plans", {"source_table": source, "key": ["code"], "columns": columns})
    delivered = pa.table({"Code": ["A"], "Weeks": ["a few"]})
    deliver(emulator, dataset, "plans", delivered)

    done = refreshed(environment, "plans")

    assert done.counts.inserted == 1
    assert rows(url, "SELECT code, weeks_count FROM sqp.plans") == [("A", "a few")]


def test_it_is_an_asset_with_its_dependencies_at_the_next_load(environment, url):
    enter(url, "ad_spend", {**ADS, "source_table": "ad_spend"})
    enter(url, "brand_names", {**BRANDS, "source_table": "other.brand_names"}, enabled=False)
    execute(
        url,
        "INSERT INTO sqp.refresh_dependencies (parent_config_id, dependent_config_id)"
        " SELECT parent.id, dependent.id FROM sqp.refresh_config AS parent,"
        " sqp.refresh_config AS dependent WHERE parent.table_name = 'daily_sqp_data'"
        " AND dependent.table_name = 'ad_spend'",
    )

    graph = defs().resolve_asset_graph()

    by_name = {"/".join(key.path): graph.get(key) for key in graph.get_all_asset_keys()}
    parents = {"/".join(key.path) for key in by_name["sqp/ad_spend"].parent_keys}
    assert parents == {"bigquery/ad_spend", "sqp/daily_sqp_data"}
    assert by_name["sqp/ad_spend"].partitions_def is not None
    assert by_name["sqp/brand_names"].partitions_def is None
    description = by_name["sqp/brand_names"].description
    assert description == "One row is the brand of one ASIN. Filled from BigQuery, row by row."
    assert "bigquery/other/brand_names" in by_name


def test_all_tables_and_a_registered_one_are_refreshed_by_one_job(
    environment, emulator, dataset, source, url
):
    from sqp_refresh_tests.helpers.weeks import three_weeks

    source.write(three_weeks())
    enter(url, "ad_spend", {**ADS, "source_table": "ad_spend"})
    deliver(emulator, dataset, "ad_spend", ads((FIRST, "A", "1")))
    job = defs().resolve_job_def("daily_refresh")

    with dg.DagsterInstance.ephemeral() as instance:
        tags = range_tags(str(FIRST), str(LAST))
        assert job.execute_in_process(instance=instance, tags=tags).success

    log = rows(url, "SELECT table_name, status FROM sqp.refresh_audit_log")
    assert {status for _, status in log} == {"success"}
    assert {table for table, _ in log} == {*TABLES, "ad_spend"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": []}, "it needs source_table, key and columns"),
        ({"columns": {}}, "it needs source_table, key and columns"),
        ({"columns": {"Day": "day", "ASIN Code": "asin"}}, "fill a column beside the key"),
        ({"columns": {"Day": "day", "ASIN Code": "asin", "x": "no"}}, "has no column no that may"),
        ({"columns": {"Day": "day", "Spend": "spend"}}, "does not fill asin of the key"),
        ({"columns": {"Day": "day", "ASIN`": "asin", "x": "spend"}}, "may hold no backtick"),
        ({"key": ["asin"], "week_column": None}, r"the table needs a primary key on \(asin\)"),
        ({"week_column": "Spend"}, "week_column must be one of columns, and fill a column"),
        ({"week_column": "ASIN Code"}, "asin must be a date"),
        ({"key": "day"}, r"custom_sync_params of sqp.ad_spend .* key \(Input should be a valid l"),
    ],
)
def test_a_registration_that_does_not_fit_is_left_out_and_named(environment, url, change, message):
    enter(url, "ad_spend", {**ADS, **change})

    catalog = read_catalog(environment)

    assert set(catalog.tables) == set(TABLES)
    (problem,) = catalog.problems
    assert re.search(message, problem), problem
    assert "ad_spend" in problem


def test_an_enabled_table_that_says_nothing_of_its_source_is_named(environment, url):
    execute(url, "UPDATE sqp.refresh_config SET is_enabled = true WHERE table_name = 'ad_spend'")

    (problem,) = read_catalog(environment).problems

    assert problem.startswith("sqp.ad_spend is enabled, but nothing says where its rows come from")


def registrations(**priorities: int) -> dict[str, Registration]:
    now = datetime.now(UTC)
    return {
        name: Registration(name, True, priorities.get(name, table.priority), now, {})
        for name, table in TABLES.items()
    }


EDGES = {(parent, name): "hard" for name, table in TABLES.items() for parent in table.parents}


def test_the_registry_may_change_priorities_and_make_a_dependency_soft():
    edges = EDGES | {("asin_performance_data", "weekly_summary"): "soft"}

    catalog = merge_with_registry(registrations(daily_sqp_data=200), edges, {})

    assert catalog.problems == []
    assert catalog.tables["daily_sqp_data"].priority == 200
    assert catalog.tables["weekly_summary"].parents == {
        "asin_performance_data": Dependency.SOFT,
        "search_query_performance": Dependency.HARD,
    }


def test_a_difference_between_graph_and_registry_is_named():
    lacking = dict(EDGES)
    del lacking["asin_performance_data", "yearly_summary"]
    stranger = {("no_such_table", "weekly_summary"): "hard"}
    circle = {("yearly_summary", "asin_performance_data"): "hard"}

    catalog = merge_with_registry(registrations(), lacking | stranger | circle, {})

    assert len(catalog.problems) == 3
    assert "lacks asin_performance_data -> yearly_summary, which the graph has" in str(catalog)
    assert "has no_such_table -> weekly_summary, of which the graph does not know" in str(catalog)
    assert "yearly_summary -> asin_performance_data, which closes a circle" in str(catalog)
    assert "asin_performance_data" in catalog.tables["yearly_summary"].parents


def test_a_difference_is_shown_in_the_ui(environment):
    execute(environment.database_url, "DELETE FROM sqp.refresh_dependencies")

    graph = defs().resolve_asset_graph()

    node = graph.get(dg.AssetKey(["sqp", "weekly_summary"]))
    assert "lacks asin_performance_data -> weekly_summary" in node.metadata["sqp/registry_differs"]


def test_a_registry_that_is_away_leaves_what_is_shipped(environment):
    unreachable = environment.model_copy(
        update={"DATABASE_URL": SecretStr("postgresql://u@127.0.0.1:1/d")}
    )

    catalog = read_catalog(unreachable)

    assert list(catalog.tables) == list(TABLES)
    assert catalog.problems[0].startswith("the registry was not read: Postgres: ")
