"""Say what a downgrade would take back, and which rows it would delete, before it does."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.errors import NotFound
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.migrate import EPILOGUE, FOLDER, current_revision
from sqp_refresh.postgres.migration_files import read_file
from sqp_refresh.postgres.session import connect

BASE = "base"
"""The revision before the first one: without schema sqp."""

_REVISIONS = {path.stem[:4]: path for path in sorted((FOLDER / "versions").glob("0*.py"))}
_DROPPED_TABLES = re.compile(r"^\s*DROP TABLE (?:IF EXISTS )?([^;]+);", re.MULTILINE)
_TABLE_NAME = re.compile(rf"\b{SCHEMA}\.(\w+)")
_ROWS = sql.SQL("SELECT count(*) FROM {}")


@dataclass(frozen=True, slots=True)
class DowngradePlan:
    """What a downgrade would do to a database.

    Attributes:
        host: The server, as the connection names it: a host, or the directory of a socket.
        database: Name of the database.
        revisions: The revisions that would be taken back, newest first.
        rows_by_table: The tables that would be dropped, each with its number of rows.
    """

    host: str
    database: str
    revisions: Sequence[str]
    rows_by_table: dict[str, int]


def target_revisions() -> list[str]:
    """List the revisions that a database may be taken back to, oldest first."""
    return [BASE, *_REVISIONS]


def plan_downgrade(database_url: str, revision: str) -> DowngradePlan:
    """Look up what a downgrade would take back, and count the rows that it would delete.

    Args:
        database_url: Where the target is.
        revision: One of `target_revisions`.

    Raises:
        NotFound: the database is at a revision that this release does not have.
        RefreshError: Postgres cannot be reached, or the user may not read the tables.
    """
    current = current_revision(database_url)
    if current is not None and current not in _REVISIONS:
        raise NotFound(
            f"schema {SCHEMA} is at {current}, which this release does not have; take it back with "
            "the release that does"
        )
    revisions = [name for name in _REVISIONS if _is_between(name, revision, current)][::-1]
    with connect(database_url) as session, session.transaction():
        rows_by_table = {
            table: session.fetch_one(_ROWS.format(sql.Identifier(SCHEMA, table)))[0]
            for table in _tables_dropped_by(revisions)
        }
        return DowngradePlan(session.host, session.database, revisions, rows_by_table)


def _is_between(name: str, revision: str, current: str | None) -> bool:
    oldest = "" if revision == BASE else revision
    return current is not None and oldest < name <= current


def _tables_dropped_by(revisions: Sequence[str]) -> list[str]:
    """List the tables that go with these revisions, in the order in which they are dropped."""
    files = [_REVISIONS[name].with_suffix(".down.sql") for name in revisions]
    # With the first revision the schema goes, too.
    if revisions and revisions[-1] == next(iter(_REVISIONS)):
        files.append(EPILOGUE)
    return [
        table
        for file in files
        for names in _DROPPED_TABLES.findall(read_file(file))
        for table in _TABLE_NAME.findall(names)
    ]
