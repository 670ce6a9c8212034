"""Run a PgBouncer in transaction mode before a server."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo

from sqp_refresh_tests.deploy.machine import free_ports

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
POOL_SIZE = 2
"""Connections to the server that all sessions of one database share."""
QUERY_WAIT_TIMEOUT_S = 15
BY_STATEMENT = "by_statement"
"""A database in which each statement may be run on another connection, transactions or not."""
PASSWORD = "in the file of users"
READY_WITHIN_S = 15

_CONFIGURATION = """
[databases]
* = host={host} port=5432 user=postgres
{by_statement} = host={host} port=5432 user=postgres dbname=postgres pool_mode=statement

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
# A user whose password is kept as a secret of SCRAM is asked for by SCRAM.
auth_type = md5
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {pool_size}
query_wait_timeout = {query_wait_timeout}
"""


@dataclass(frozen=True, slots=True)
class PgBouncer:
    """A pooler that is at work.

    Attributes:
        port: Its port on 127.0.0.1.
    """

    port: int

    def url(self, database: str, user: str = "scram") -> str:
        """Return the URL of a database; the user `md5` is authenticated in the older way."""
        return (
            f"postgresql://{user}:{PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"
        )


@contextmanager
def pgbouncer(server_url: str) -> Iterator[PgBouncer]:
    """Run a pooler for every database of a server, for as long as the context lasts.

    Args:
        server_url: URL of the server's superuser, by a Unix socket.
    """
    assert PGBOUNCER, "there is no pgbouncer"
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="sqp_refresh_pgbouncer_") as folder:
        configuration = Path(folder, "pgbouncer.ini")
        configuration.write_text(
            _CONFIGURATION.format(
                host=conninfo.conninfo_to_dict(server_url)["host"],
                port=port,
                by_statement=BY_STATEMENT,
                folder=folder,
                pool_size=POOL_SIZE,
                query_wait_timeout=QUERY_WAIT_TIMEOUT_S,
            )
        )
        Path(folder, "users.txt").write_text(_users(server_url))
        Path(folder).chmod(0o755)
        # As Postgres does, it refuses to run as root; the wheel has made a user for that.
        user = "pgserver" if os.geteuid() == 0 else None
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen([PGBOUNCER, configuration], user=user, stderr=log)
        try:
            pooler = PgBouncer(port)
            _wait_for(pooler.url(urlsplit(server_url).path.removeprefix("/")))
            yield pooler
        finally:
            process.kill()
            process.wait()


def _users(server_url: str) -> str:
    """Return the file of users: name and secret, each of which stands for the superuser."""
    with psycopg.connect(server_url) as connection:
        secrets = {
            name: connection.pgconn.encrypt_password(
                PASSWORD.encode(), name.encode(), algorithm.encode()
            ).decode()
            for name, algorithm in {"scram": "scram-sha-256", "md5": "md5"}.items()
        }
    return "".join(f'"{name}" "{secret}"\n' for name, secret in secrets.items())


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
