"""Run SQL in the database of a test, and make such databases."""

import itertools
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 << 30
"""What the servers of two workers may need there."""

HAS_STRATEGIES = 150_000
"""The first version of Postgres that copies a database in the way it is told."""

_numbers = itertools.count(1)


def execute(url: str, statement: str) -> None:
    """Run a statement in a transaction of its own."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def ensure_role(url: str, role: str) -> None:
    """Create a role unless the server has it; roles outlive the databases of other tests."""
    if not rows(url, f"SELECT FROM pg_roles WHERE rolname = '{role}'"):
        execute(url, f"CREATE ROLE {role}")


def rows(url: str, query: str) -> list[tuple]:
    """Return the rows of a query."""
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


@contextmanager
def database_like(server: str, template: str) -> Iterator[str]:
    """Create a database from a template for as long as the context lasts.

    Args:
        server: URL of any database of the server, as a user who may create databases.
        template: Name of the database to copy.

    Yields:
        The URL of the new database.
    """
    name = f"test_{next(_numbers)}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    create = sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names)
    with psycopg.connect(server, autocommit=True) as connection:
        if connection.info.server_version >= HAS_STRATEGIES:
            # In memory, files are copied in half the time that their pages are logged in.
            create += sql.SQL(" STRATEGY file_copy")
        connection.execute(create)
    yield urlsplit(server)._replace(path=f"/{name}").geturl()
    run_outside_transaction(server, sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))


def run_outside_transaction(url: str, statement: sql.SQL | sql.Composed) -> None:
    """Run a statement that Postgres refuses inside of a transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def folder_in_memory() -> Path | None:
    """Return where files are kept in memory, or None where there is no room for a server's."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM_BYTES:
        return MEMORY
    return None
