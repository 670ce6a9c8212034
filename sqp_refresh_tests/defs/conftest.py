"""One Dagster instance for all of these tests: definitions look for the process's latest one."""

from collections.abc import Iterator

import dagster as dg
import pytest


@pytest.fixture(scope="session")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def instance_on_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance that commands find, too."""
    with dg.instance_for_test() as instance:
        monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
        yield instance


@pytest.fixture(autouse=True)
def _instance_is_there(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """Definitions that are resolved while another test's instance is gone would fail."""
    monkeypatch.setenv("DAGSTER_HOME", instance.root_directory)
