"""An operator with a Dagster instance of its own, and a source of three weeks."""

from collections.abc import Iterator

import dagster as dg
import pytest

from sqp_refresh import retrying
from sqp_refresh_tests.defs.run_requests.operator import Operator
from sqp_refresh_tests.helpers.weeks import three_weeks


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0)


@pytest.fixture
def own_instance() -> Iterator[dg.DagsterInstance]:
    """An instance that has no run yet."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def operator(own_instance, environment, source, monkeypatch) -> Operator:
    """An operator of a source of three weeks."""
    source.write(three_weeks())
    return Operator(own_instance, monkeypatch)
