"""Run a small production: the three units on Postgres storage, a night, a killed run, a click."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser

from sqp_refresh.model.periods import finished_weeks
from sqp_refresh.settings import Settings
from sqp_refresh_tests.deploy.machine import Machine, await_that
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.browser import CHROMIUM
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import read_tables
from sqp_refresh_tests.helpers.rows import Row, row

QUERIES = "search_query_performance"
CLICKED = "daily_sqp_data"


def delivered(weeks: list[date], volume: int = 800) -> list[Row]:
    """Return rows of two ASINs with two queries each, in each week."""
    return [
        row(day=week, asin=asin, query=query, volume=volume)
        for week in weeks
        for asin in ("B000000001", "B000000002")
        for query in ("blue widget", "red widget")
    ]


@pytest.fixture
def weeks() -> list[date]:
    """Return the last two weeks that have ended, which are all that a night looks back to."""
    first = Settings.model_fields["REFRESH_START_DATE"].default
    return [week.start for week in finished_weeks(first, datetime.now(UTC).date())[-2:]]


@pytest.fixture
def machine(
    environment: Settings, database: str, tmp_path: Path, weeks: list[date]
) -> Iterator[Machine]:
    """Run a machine on which a night begins each minute, and whose pauses are seconds."""
    settings = {name: os.environ[name] for name in Settings.model_fields if name in os.environ}
    settings |= {"REFRESH_START_DATE": str(weeks[0]), "REFRESH_CRON": "* * * * *"}
    machine = Machine(
        tmp_path / "dagster", database, settings, "sqp_refresh_tests.deploy.impatient"
    )
    with machine.running("code", "daemon", "webserver"):
        yield machine


@contextmanager
def locked(url: str, table: str) -> Iterator[None]:
    """Lock a table against writes, so that a refresh of it waits."""
    with psycopg.connect(url) as connection:
        connection.execute(f"LOCK TABLE sqp.{table} IN SHARE MODE".encode())
        yield
        connection.rollback()


def worker_of(url: str, table: str) -> int | None:
    """Return the id of the process that refreshes a table now."""
    pids = rows(
        url,
        "SELECT (checkpoint_data->>'pid')::int FROM sqp.refresh_checkpoints"
        f" WHERE status = 'active' AND table_name = '{table}'",
    )
    return pids[0][0] if pids else None


def refreshed(url: str) -> set[str]:
    """Return the tables that have a successful refresh."""
    ended = "SELECT table_name FROM sqp.refresh_audit_log WHERE status IN ('success', 'warning')"
    return {table for (table,) in rows(url, ended)}


def reruns(machine: Machine) -> set[str]:
    """Return the statuses of the runs that the sensor launched in place of failed ones."""
    tagged = '{tags: [{key: "sqp_refresh/rerun", value: "1"}]}'
    query = f"{{ runsOrError(filter: {tagged}) {{ ... on Runs {{ results {{ status }} }} }} }}"
    return {run["status"] for run in machine.query(query)["runsOrError"]["results"]}


def click_materialize(browser: Browser, machine: Machine, table: str) -> None:
    """Materialize an asset on its page, as a person does."""
    page = browser.new_page()
    page.set_default_timeout(180_000)
    page.goto(f"{machine.url}/assets/sqp/{table}")
    page.get_by_role("button", name="Materialize").click()
    page.get_by_role("button", name="All", exact=True).click()
    page.get_by_role("button", name="Launch backfill").click()
    page.get_by_role("button", name="Launch backfill").wait_for(state="detached")
    page.close()


@pytest.mark.timeout(900)
def test_a_click_is_a_refresh_and_a_night_survives_a_kill(
    machine, environment, source, weeks, request
):
    url = environment.database_url
    source.write(delivered(weeks))
    machine.await_code()
    machine.create_pools()
    if CHROMIUM:
        click_materialize(request.getfixturevalue("browser"), machine, CLICKED)
        await_that(lambda: refreshed(url) == {CLICKED}, "what was clicked is materialised", 240)

    execute(url, "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 minute'")
    with locked(url, QUERIES):
        worker = await_that(lambda: worker_of(url, QUERIES), "the schedule's run is at work", 240)
        execute(url, "UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 day'")
        os.kill(worker, signal.SIGKILL)
    await_that(lambda: reruns(machine) == {"SUCCESS"}, "the sensor has run it again", 240)
    await_that(lambda: not machine.unfinished(), "every run has ended", 240)

    now = read_tables(environment)
    for table, expected in oracle.expected_tables(delivered(weeks)).items():
        oracle.assert_equal(now[table], expected, table)
    failed = "SELECT DISTINCT table_name FROM sqp.refresh_audit_log WHERE status = 'failed'"
    assert rows(url, failed) == [(QUERIES,)]
    assert refreshed(url) == set(oracle.KEYS)
    if CHROMIUM is None:
        pytest.skip("there is no chromium to click in")
