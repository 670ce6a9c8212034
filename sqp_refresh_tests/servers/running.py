"""Start each server at its first use, once a session."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from psycopg import sql

from sqp_refresh.demo.servers import embedded_postgres
from sqp_refresh.postgres import migrate
from sqp_refresh_tests.helpers.database import (
    database_like,
    folder_in_memory,
    run_outside_transaction,
)
from sqp_refresh_tests.servers import builds
from sqp_refresh_tests.servers.pgbouncer import PGBOUNCER, PgBouncer, pgbouncer

NEWEST = "postgres 18"
POOLED = "pgbouncer"
OTHERS = ["postgres 14", "postgres 15", "postgres 16", "postgres 17", POOLED]
"""All but the newest, on which every test runs."""

# Nothing here outlives the session. Each test copies a database, which is 300 files.
UNSAFE_BUT_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_wal_size": "256MB",
}

on_other_servers = pytest.mark.parametrize("target_server", OTHERS, indirect=True)
"""Run a test on each of them in turn; its databases are those of that server."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that is at work.

    Attributes:
        url: URL of its superuser.
        pooler: What the settings name instead of the server.
    """

    url: str
    pooler: PgBouncer | None = None

    def database_url(self, url: str) -> str:
        """Return what DATABASE_URL is for a database of this server."""
        return self.pooler.url(urlsplit(url).path.removeprefix("/")) if self.pooler else url


class Servers:
    """The servers of a session, each of which is started when it is first asked for."""

    def __init__(self, kept: ExitStack) -> None:
        self._kept = kept
        self._started: dict[str, Server] = {}
        self._migrated: dict[str, str] = {}

    def __getitem__(self, name: str) -> Server:
        """Return a server by its name; skip the test where this machine does not have it."""
        if name not in self._started:
            self._started[name] = self._behind_pooler() if name == POOLED else self._start(name)
        return self._started[name]

    def migrated(self, server: Server) -> str:
        """Return the name of a database of a server, with every migration applied, to copy."""
        if server.url not in self._migrated:
            url = self._kept.enter_context(database_like(server.url, "template0"))
            migrate.upgrade(url)
            self._migrated[server.url] = urlsplit(url).path.removeprefix("/")
        return self._migrated[server.url]

    def _behind_pooler(self) -> Server:
        if PGBOUNCER is None:
            pytest.skip("there is no pgbouncer; as root, `apt-get install pgbouncer`")
        newest = self[NEWEST]
        return Server(newest.url, self._kept.enter_context(pgbouncer(newest.url)))

    def _start(self, name: str) -> Server:
        version = int(name.split()[1])
        require(version)
        home = tempfile.TemporaryDirectory(prefix="sqp_refresh_", dir=folder_in_memory())
        directory = self._kept.enter_context(home)
        url = self._kept.enter_context(
            embedded_postgres(Path(directory, "postgres"), version=version)
        )
        for parameter, value in UNSAFE_BUT_FAST.items():
            statement = sql.SQL("ALTER SYSTEM SET {} = {}").format(
                sql.Identifier(parameter), sql.Literal(value)
            )
            run_outside_transaction(url, statement)
        run_outside_transaction(url, sql.SQL("SELECT pg_reload_conf()"))
        return Server(url)


def require(version: int) -> None:
    """Let `embedded_postgres` run a version; skip the test where this machine does not have it."""
    if not builds.enable(version):
        pytest.skip(f"there is no Postgres {version}; `make servers` fetches it, or says why not")
