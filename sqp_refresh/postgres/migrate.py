"""The versions of schema `sqp`: bring a database to the newest, take it back, or print the SQL.

Alembic keeps a database's version in `sqp.alembic_version`. A migration is one transaction: it
happens as a whole or not at all, and of two at once the second waits for the first. Every command
asks at which version a database is, so that alone is done without Alembic, slow to import.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo
from sqlalchemy import Connection, NullPool, TextClause, create_engine, text
from sqlalchemy.exc import DBAPIError

from sqp_refresh.errors import (
    AccessDenied,
    NotFound,
    Permanent,
    RefreshError,
    Transient,
    one_line,
)
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.session import address_of
from sqp_refresh.postgres.sqlstate import unreachable

if TYPE_CHECKING:
    from alembic.config import Config

# A wheel carries the folder inside the package, a checkout beside it.
_PLACES = (Path(__file__).parents[1] / "migrations", Path(__file__).parents[2] / "migrations")
FOLDER = _PLACES[0] if _PLACES[0].is_dir() else _PLACES[1]
PROLOGUE = FOLDER / "prologue.sql"
EPILOGUE = FOLDER / "epilogue.sql"

_log = logging.getLogger(__name__)
# What Alembic is working on is known to the whole process, not to one thread.
_one_at_a_time = Lock()


def upgrade(database_url: str, revision: str = "head") -> list[str]:
    """Create or bring up to date everything that schema `sqp` holds.

    Returns:
        The revisions that were applied, oldest first; empty where there was nothing to do.

    Raises:
        Unavailable: nothing answers at the address.
        AccessDenied: the user or password is wrong, or the user may not create the schema.
        NotFound: there is no such database, or no such revision.
        Permanent: the schema holds something of the same name that is not ours.
    """
    with _connected(database_url) as connection:
        return _run("upgrade", connection, revision)


def downgrade(database_url: str, revision: str = "base") -> list[str]:
    """Take versions back, and the rows in their tables with them; to `base`, nothing is left.

    Returns:
        The revisions that were taken back, newest first; empty where there was nothing to do.

    Raises:
        Permanent: something that is not ours lives in the schema, or is built on it; nothing is
            dropped then.
        RefreshError: as for `upgrade`.
    """
    with _connected(database_url) as connection:
        if _version(connection) is None:
            return []
        return _run("downgrade", connection, revision)


def as_sql() -> str:
    """Everything that `upgrade` runs on an empty database, as plain SQL for any other tool.

    It records its version, so that `upgrade` finds nothing to do afterwards.
    """
    from alembic import command

    script = StringIO()
    with _one_at_a_time:
        command.upgrade(_config(output_buffer=script), "head", sql=True)
    return script.getvalue()


def current(database_url: str) -> str | None:
    """The revision that a database is at; None where it was never migrated.

    Raises:
        RefreshError: as for `upgrade`.
    """
    with _connected(database_url) as connection:
        return _version(connection)


def newest() -> str:
    """The revision that this release needs."""
    return max(path.stem[:4] for path in (FOLDER / "versions").glob("0*.py"))


def is_current(database_url: str) -> bool:
    """Whether a database has exactly the tables that this release reads and writes.

    Raises:
        RefreshError: as for `upgrade`.
    """
    return current(database_url) == newest()


def require_current(database_url: str) -> None:
    """Refuse a database that lacks what this release reads and writes.

    Raises:
        NotFound: the schema is missing, or at another revision.
        RefreshError: as for `upgrade`.
    """
    found, needed = current(database_url), newest()
    if found != needed:
        raise NotFound(
            f"schema {SCHEMA} is not migrated (it is at {found or 'nothing'}, this release needs "
            f"{needed}); run sqp-refresh migrate"
        )


def sql_of(path: Path) -> TextClause:
    """A file of SQL, to be run as it stands."""
    # To SQLAlchemy a word after a colon is a parameter; our files have none.
    return text(path.read_text(encoding="utf-8").strip().removesuffix(";").replace(":", r"\:"))


def sql_beside(version: str, direction: str) -> TextClause:
    """The SQL of a version, given its Python file and `up` or `down`."""
    return sql_of(Path(version).with_suffix(f".{direction}.sql"))


def _config(**options: Any) -> "Config":  # noqa: ANN401, Alembic's own keywords
    from alembic.config import Config

    config = Config(**options)
    # Alembic reads its options as an ini file does, where a percent sign is special.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config


def _run(direction: str, connection: Connection, revision: str) -> list[str]:
    from alembic import command
    from alembic.util import CommandError

    moved: list[str] = []
    config = _config(
        attributes={
            "connection": connection,
            "on_version_apply": lambda step, **_: moved.append(step.up_revision_id),
        }
    )
    try:
        with _one_at_a_time:
            getattr(command, direction)(config, revision)
    except CommandError as error:
        raise NotFound(f"{one_line(error)}; this release goes up to {newest()}") from error
    return moved


def _version(connection: Connection) -> str | None:
    versions = f"{SCHEMA}.alembic_version"
    (is_there,) = connection.execute(
        text("SELECT to_regclass(:versions) IS NOT NULL"), {"versions": versions}
    ).one()
    if not is_there:
        return None
    return connection.execute(text("SELECT version_num FROM sqp.alembic_version")).scalar()


@contextmanager
def _connected(database_url: str) -> Iterator[Connection]:
    """A transaction on the database; what goes wrong in it comes out as one of our errors."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connection(database_url),
        poolclass=NullPool,
        # A migration that waited for another must see what that one did.
        isolation_level="READ COMMITTED",
    )
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        raise _explained(error.orig or error) from error


def _connection(database_url: str) -> psycopg.Connection:
    address = address_of(database_url)
    try:
        # A pooler in front of Postgres may not know statements that were prepared.
        connection = psycopg.connect(conninfo.make_conninfo("", **address), prepare_threshold=None)
    except psycopg.Error as error:
        raise unreachable(one_line(error), address) from None
    connection.add_notice_handler(lambda notice: _log.warning(notice.message_primary))
    return connection


def _explained(error: BaseException) -> RefreshError:
    said = f"Postgres: {one_line(error)}"
    match error:
        case psycopg.errors.InsufficientPrivilege():
            return AccessDenied(
                f"{said}; migrate as the owner of the database, and of schema {SCHEMA} if it exists"
            )
        case psycopg.errors.DependentObjectsStillExist():
            return Permanent(
                f"{said}: {_detail(error)}; nothing was dropped: move or drop what is yours first"
            )
        case psycopg.errors.DuplicateTable() | psycopg.errors.DuplicateFunction():
            return Permanent(
                f"{said}; schema {SCHEMA} holds something of another origin: move it elsewhere, "
                "then migrate again"
            )
        case psycopg.OperationalError():
            return Transient(f"{said}; nothing was changed: try again")
        case _:
            return Permanent(said)


def _detail(error: psycopg.Error) -> str:
    return "; ".join((error.diag.message_detail or "").splitlines())
