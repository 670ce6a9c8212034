"""The dashboard as Dagster has it: drawn after each night, however it ended, and linked."""

from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from sqp_refresh.definitions import defs
from sqp_refresh.defs.cron import longest_pause
from sqp_refresh.defs.jobs.dashboard_job import KEY
from sqp_refresh.model.lineage import origins
from sqp_refresh.model.tables import TABLES
from sqp_refresh.settings import Settings
from sqp_refresh_tests.monitoring.dashboard.history import AT, DAY, history

DAILY = dg.AssetKey(["sqp", "daily_sqp_data"])


@pytest.fixture
def page(monkeypatch, migrated_database, tmp_path) -> Path:
    """Where the page of this test is drawn; one table is enabled."""
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    with history(migrated_database) as log:
        log.connection.execute("UPDATE sqp.refresh_config SET is_enabled = false")
        log.register("daily_sqp_data")
    monkeypatch.setenv("REFRESH_DASHBOARD_PATH", str(tmp_path / "page.html"))
    return tmp_path / "page.html"


def sensed(instance: dg.DagsterInstance, cursor: str | None = None):
    """What the sensor does now."""
    sensor = defs().resolve_sensor_def("dashboard_after_each_night")
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        return sensor.evaluate_tick(context)


def test_the_page_is_drawn_after_a_night_however_it_ended_and_takes_no_run(page, monkeypatch):
    with dg.instance_for_test() as instance:
        assert sensed(instance).skip_message == "no refresh has ended yet"
        # It has no source: the night fails.
        failed = (
            defs()
            .resolve_job_def("daily_refresh")
            .execute_in_process(
                instance=instance,
                asset_selection=[DAILY],
                partition_key=None,
                raise_on_error=False,
                tags={
                    "dagster/asset_partition_range_start": "2025-08-10",
                    "dagster/asset_partition_range_end": "2025-08-10",
                },
            )
        )
        assert not failed.success
        with monkeypatch.context() as away:
            away.setenv("DATABASE_URL", "postgresql://u@127.0.0.1:1/d")
            waits = sensed(instance)
        assert "it is tried again at the next tick" in (waits.skip_message or "")
        assert (waits.cursor, page.exists()) == (None, False)

        drawn = sensed(instance)

        (made,) = drawn.asset_events
        assert (drawn.cursor, drawn.run_requests) == (failed.run_id, [])
        assert made.asset_key == KEY
        assert "sqp/verdict" in made.metadata
        assert page.read_text().startswith("<!doctype html>")
        again = sensed(instance, drawn.cursor)
        assert again.skip_message == "it was drawn after the latest run"


def test_the_asset_draws_the_page_and_says_what_is_on_it(instance, migrated_database, page):
    with history(migrated_database) as log:
        log.run("daily_sqp_data", AT - DAY, "failed")
        log.run("daily_sqp_data", AT, metrics={"missing_weeks": (0, 0, True)})

    done = defs().resolve_job_def("draw_dashboard").execute_in_process(instance=instance)

    (made,) = done.get_asset_materialization_events()
    metadata = made.materialization.metadata
    assert made.asset_key == KEY
    assert page.read_text().startswith("<!doctype html>")
    assert metadata["sqp/dashboard"] == dg.MetadataValue.path(page)
    assert metadata["sqp/verdict"].value == "The table is up to date"
    numbers = {
        "tables_up_to_date": 1,
        "tables_needing_attention": 0,
        "good_nights_in_a_row": 1,
        "success_rate": 50.0,
        "checks_passed_rate": 100.0,
    }
    assert {name: metadata[f"sqp/{name}"].value for name in numbers} == numbers
    tables = metadata["sqp/tables"]
    assert isinstance(tables, dg.TableMetadataValue)
    (record,) = tables.records
    assert (record.data["table"], record.data["state"]) == ("daily_sqp_data", "Up to date")


def test_every_table_links_to_the_page(monkeypatch):
    monkeypatch.setenv("REFRESH_DASHBOARD_URL", "https://example.com/sqp/")
    graph = defs().resolve_asset_graph()

    for key in graph.materializable_asset_keys:
        link = graph.get(key).metadata["sqp/dashboard"]
        assert link == dg.MetadataValue.url("https://example.com/sqp/")


@pytest.mark.parametrize(
    ("cron", "hours"),
    [("0 2 * * *", 24), ("0 2 * * 1-5", 72), ("30 */6 * * *", 6), ("0 2 1 * *", 744)],
)
def test_a_weekend_without_nights_is_no_delay(monkeypatch, cron, hours):
    monkeypatch.setenv("REFRESH_CRON", cron)

    assert longest_pause(Settings.read()) == timedelta(hours=hours)


def test_a_table_is_late_by_what_the_schedule_and_the_registry_say(monkeypatch, migrated_database):
    with psycopg.connect(migrated_database) as connection:
        connection.execute(
            "UPDATE sqp.refresh_config SET refresh_frequency_hours = 168"
            " WHERE table_name = 'yearly_summary'"
        )
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    graph = defs().resolve_asset_graph()

    def policy(table: str) -> dg.FreshnessPolicy | None:
        return graph.get(dg.AssetKey(["sqp", table])).freshness_policy

    def hours(warn: int, fail: int) -> dg.FreshnessPolicy:
        return dg.FreshnessPolicy.time_window(timedelta(hours=fail), timedelta(hours=warn))

    assert policy("weekly_summary") == hours(26, 36)
    assert policy("yearly_summary") == hours(170, 180)


def test_another_definition_of_a_table_is_another_version_of_its_code():
    graph = defs().resolve_asset_graph()
    versions = {graph.get(dg.AssetKey(["sqp", table])).code_version for table in TABLES}

    assert None not in versions
    assert len(versions) >= len(TABLES) - 3  # month, quarter and year are defined alike


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_every_column_comes_from_columns_that_there_are(table):
    titles = {column.title for column in table.source.columns} if table.source else set()

    for column, made_from in origins(table).items():
        assert made_from, column
        for parent, name in made_from:
            names_above = {column.name for column in TABLES[parent].columns} if parent else titles
            assert name in names_above, column
            assert parent is None or parent in table.parents


def test_a_ratio_comes_from_what_is_divided():
    assert origins(TABLES["weekly_summary"])["ctr"] == [
        ("search_query_performance", "asin_click_count"),
        ("search_query_performance", "asin_impression_count"),
    ]
    assert origins(TABLES["daily_sqp_data"])["ctr"] == [
        (None, "ASIN Click Count"),
        (None, "ASIN Impression Count"),
    ]
    assert origins(TABLES["search_performance_summary"])["brand"] == [
        ("asin_performance_data", "brand")
    ]
