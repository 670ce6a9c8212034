"""Make databases whose control tables hold nights, and draw the page of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sqp_refresh.monitoring.dashboard.drawing import draw
from sqp_refresh_tests.helpers.database import database_like
from sqp_refresh_tests.monitoring.dashboard.history import AT, HOSTILE, History, history


@pytest.fixture
def filled(migrated_database: str) -> Iterator[History]:
    """Yield the control tables of an empty database, of whose tables none is enabled."""
    with history(migrated_database) as tables:
        tables.connection.execute("UPDATE sqp.refresh_config SET is_enabled = false")
        yield tables


@pytest.fixture(scope="session")
def page(
    postgres_url: str, _migrated: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Yield the page of three tables with three weeks of nights; one failed and is hostile."""
    with _three_tables(postgres_url, _migrated) as database_url:
        path = tmp_path_factory.mktemp("dashboard") / "dashboard.html"
        draw(database_url, path, AT, days=21)
        yield path


@contextmanager
def _three_tables(server: str, template: str) -> Iterator[str]:
    shown = ["search_query_performance", "monthly_summary"]
    with database_like(server, template) as database_url:
        with history(database_url) as tables:
            tables.connection.execute(
                "UPDATE sqp.refresh_config SET is_enabled = table_name = ANY(%s)", (shown,)
            )
            tables.nights(shown, 21)
            tables.register(HOSTILE)
            tables.run(
                HOSTILE,
                AT,
                "failed",
                message=f"{HOSTILE}\x1b[31m",
                metrics={HOSTILE: (1, 0, False)},
            )
        yield database_url
