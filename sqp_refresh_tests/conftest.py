"""Start Postgres and BigQuery once a session; create a database and a dataset for each test."""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import hypothesis
import pytest
from playwright.sync_api import Browser, sync_playwright
from psycopg import sql

from sqp_refresh.demo.servers import (
    Emulator,
    bigquery_client,
    embedded_bigquery,
    embedded_postgres,
)
from sqp_refresh.demo.source_table import call_deadline
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.browser import CHROMIUM
from sqp_refresh_tests.helpers.database import (
    database_like,
    folder_in_memory,
    run_outside_transaction,
)
from sqp_refresh_tests.helpers.rows import SourceTable

UNSAFE_BUT_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
}

_numbers = itertools.count(1)

# Machines are shared: the time that an example takes depends on more than the code.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all settings of the shell that runs the tests, and of other tests."""
    for name in (*Settings.model_fields, "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Start a Postgres 18; return the URL of its superuser.

    Nothing here outlives the session, so nothing needs to be on disk. Each test copies a database,
    which is 300 files.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sqp_refresh_", dir=folder_in_memory()) as directory,
        embedded_postgres(Path(directory, "postgres")) as url,
    ):
        for name, value in UNSAFE_BUT_FAST.items():
            run_outside_transaction(
                url, sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), value)
            )
        run_outside_transaction(url, sql.SQL("SELECT pg_reload_conf()"))
        yield url


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """Return the URL of an empty database."""
    with database_like(postgres_url, "template0") as url:
        yield url


@pytest.fixture(scope="session")
def _migrated(postgres_url: str) -> Iterator[str]:
    from sqp_refresh.postgres import migrate

    with database_like(postgres_url, "template0") as url:
        migrate.upgrade(url)
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
def migrated_database(postgres_url: str, _migrated: str) -> Iterator[str]:
    """Return the URL of a database with every migration applied and no row refreshed."""
    with database_like(postgres_url, _migrated) as url:
        yield url


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """Start a BigQuery emulator."""
    with embedded_bigquery(project="test-project") as emulator:
        yield emulator


@pytest.fixture
def dataset(emulator: Emulator) -> Iterator[str]:
    """Return the name of an empty dataset."""
    name = f"dataset_{next(_numbers)}"
    with bigquery_client(emulator) as client:
        client.create_dataset(name, **call_deadline())
        yield name
        client.delete_dataset(name, delete_contents=True, not_found_ok=True, **call_deadline())


@pytest.fixture
def source(emulator: Emulator, dataset: str) -> SourceTable:
    """Return the source table of this test; it exists once the test writes to it."""
    return SourceTable(emulator, dataset, Settings.model_fields["BIGQUERY_SOURCE_TABLE"].default)


@pytest.fixture
def environment(
    monkeypatch: pytest.MonkeyPatch, migrated_database: str, emulator: Emulator, dataset: str
) -> Settings:
    """Set the settings to this test's database and dataset; all others have their defaults."""
    variables = {
        "DATABASE_URL": migrated_database,
        "BIGQUERY_PROJECT_ID": emulator.project,
        "BIGQUERY_DATASET": dataset,
        "BIGQUERY_EMULATOR_HOST": emulator.rest_url,
        "BIGQUERY_STORAGE_EMULATOR_HOST": emulator.storage_host,
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Settings.read()


# Of a module, not of the session: its event loop runs in this thread until it is closed.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start a real Chromium without a window."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium to open a page in")
    with sync_playwright() as playwright:
        # As root, which CI is, Chromium refuses its own sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
