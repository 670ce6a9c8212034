"""Fill the source with three weeks, shorten deadlines, and put proxies before BigQuery."""

from collections.abc import Iterator
from functools import partial

import pytest
from google.api_core.retry import Retry
from google.cloud import bigquery
from pydantic import SecretStr

from sqp_refresh import retrying
from sqp_refresh.demo.servers import Emulator, bigquery_client
from sqp_refresh.demo.source_table import call_deadline
from sqp_refresh.extract import client, jobs
from sqp_refresh.extract import storage_read as storage_read_module
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.settings import Settings
from sqp_refresh_tests.faults.proxies import RestProxy, StorageProxy, rest_proxy, storage_proxy
from sqp_refresh_tests.helpers.database import database_like
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.helpers.weeks import WEEKS, three_weeks
from sqp_refresh_tests.servers.running import NEWEST, Servers

# Ten times as long as the emulator takes for a query that it has translated before.
CALL_DEADLINE_S = 3
STRETCH_S = 2
ATTEMPTS = 2


@pytest.fixture(scope="session")
def _translated(emulator: Emulator, servers: Servers) -> None:
    """Have the emulator translate the queries of a refresh, which takes it seconds."""
    newest, dataset = servers[NEWEST], "before_faults"
    with bigquery_client(emulator) as client:
        client.create_dataset(dataset, **call_deadline())
    with database_like(newest.url, servers.migrated(newest)) as url:
        settings = Settings(
            DATABASE_URL=SecretStr(url),
            BIGQUERY_PROJECT_ID=emulator.project,
            BIGQUERY_DATASET=dataset,
            BIGQUERY_EMULATOR_HOST=emulator.rest_url,
            BIGQUERY_STORAGE_EMULATOR_HOST=emulator.storage_host,
        )
        SourceTable(emulator, dataset, settings.BIGQUERY_SOURCE_TABLE).write(three_weeks())
        source = BigQuerySource(settings, SEARCH_QUERY_PERFORMANCE, WEEKS)
        refresh(url, source, RefreshRequest("translated"))


@pytest.fixture(autouse=True)
def _impatient(_translated: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "CALL_DEADLINE_S", CALL_DEADLINE_S)
    monkeypatch.setattr(storage_read_module, "CALL_DEADLINE_S", CALL_DEADLINE_S)
    monkeypatch.setattr(jobs, "QUERY_DEADLINE_S", CALL_DEADLINE_S)
    monkeypatch.setattr(storage_read_module, "STRETCH_S", STRETCH_S)
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0.1)
    monkeypatch.setattr(
        "sqp_refresh.refresh.run.retrying", partial(retrying.retrying, max_attempts=ATTEMPTS)
    )
    # The library's own pauses, and how long it waits for a query's result at least.
    quick: Retry = bigquery.DEFAULT_RETRY.with_delay(initial=0.05, maximum=0.2)
    monkeypatch.setattr(bigquery, "DEFAULT_RETRY", quick)
    monkeypatch.setattr(
        "google.cloud.bigquery.client._MIN_GET_QUERY_RESULTS_TIMEOUT", CALL_DEADLINE_S
    )


@pytest.fixture(autouse=True)
def _delivered(source: SourceTable) -> None:
    source.write(three_weeks())


@pytest.fixture
def rest(
    environment: Settings, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[RestProxy]:
    """Put a proxy before BigQuery's REST port; the settings name the proxy."""
    with rest_proxy(emulator.rest_url) as proxy:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", proxy.url)
        yield proxy


@pytest.fixture
def storage_read(
    environment: Settings, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StorageProxy]:
    """Put a proxy before BigQuery's Storage Read port; the settings name the proxy."""
    with storage_proxy(emulator.storage_host) as proxy:
        monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", proxy.host)
        yield proxy
