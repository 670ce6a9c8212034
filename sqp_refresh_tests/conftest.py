"""Start Postgres and BigQuery once a session; create a database and a dataset for each test."""

import gc
import itertools
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest
from playwright.sync_api import Browser, sync_playwright

from sqp_refresh import gc_tuning
from sqp_refresh.demo.servers import Emulator, bigquery_client, embedded_bigquery
from sqp_refresh.demo.source_table import call_deadline
from sqp_refresh.schema_name import DEFAULT_SCHEMA, SCHEMA
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.browser import CHROMIUM
from sqp_refresh_tests.helpers.database import database_like, folder_in_memory
from sqp_refresh_tests.helpers.other_schema import have_tests_speak_of_this_schema
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.servers.running import NEWEST, Server, Servers

LONGEST = (
    "sqp_refresh_tests/deploy/test_one_machine.py",
    "sqp_refresh_tests/torture/",
    "sqp_refresh_tests/defs/test_materialize.py",
)
_numbers = itertools.count(1)

# Machines are shared: the time that an example takes depends on more than the code.
hypothesis.settings.register_profile("shared machine", deadline=None)
hypothesis.settings.load_profile("shared machine")


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary files in memory: SQLite waits for the disk at each event of a run."""
    if Path(".env").is_file():
        # Commands that tests start would work on its servers, whatever the tests set.
        raise pytest.UsageError("move .env away: its settings prevail over those of the tests")
    memory = folder_in_memory()
    if memory and "TMPDIR" not in os.environ and not os.statvfs(memory).f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = str(memory)
        tempfile.tempdir = None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that take minutes: at the end, a worker would wait for the other."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Search what is loaded by now for garbage no more: it stays until the end."""
    gc_tuning.collect_less_often()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all settings of the shell that runs the tests, and of other tests."""
    for name in (*Settings.model_fields, "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    if SCHEMA != DEFAULT_SCHEMA:
        # A process has one schema from its first import to its end.
        monkeypatch.setenv("SQP_SCHEMA", SCHEMA)
        have_tests_speak_of_this_schema(monkeypatch)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Return the versions of Postgres and the pooler; each is started at its first use."""
    with ExitStack() as kept:
        yield Servers(kept)


@pytest.fixture(scope="session")
def postgres_url(servers: Servers) -> str:
    """Return the URL of the superuser of a Postgres 18."""
    return servers[NEWEST].url


@pytest.fixture(scope="session")
def _migrated(servers: Servers) -> str:
    return servers.migrated(servers[NEWEST])


@pytest.fixture
def target_server(request: pytest.FixtureRequest, servers: Servers) -> Server:
    """Return the server of this test: the newest, unless the test runs on every one."""
    return servers[getattr(request, "param", NEWEST)]


@pytest.fixture
def database(target_server: Server) -> Iterator[str]:
    """Return the URL of an empty database."""
    with database_like(target_server.url, "template0") as url:
        yield url


@pytest.fixture
def migrated_database(servers: Servers, target_server: Server) -> Iterator[str]:
    """Return the URL of a database with every migration applied and no row refreshed."""
    with database_like(target_server.url, servers.migrated(target_server)) as url:
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
    monkeypatch: pytest.MonkeyPatch,
    target_server: Server,
    migrated_database: str,
    emulator: Emulator,
    dataset: str,
) -> Settings:
    """Set the settings to this test's database and dataset; all others have their defaults."""
    variables = {
        "DATABASE_URL": target_server.database_url(migrated_database),
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
