"""Migrate schema `sqp` to the newest revision, or back; or print the SQL that does it.

Alembic keeps the revision of a database in `sqp.alembic_version`. A migration is one transaction:
it is applied as a whole or not at all, and of two at once the second waits for the first. Alembic
is slow to import, and every command reads the revision of the database: that is done without it.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

import psycopg
from psycopg import conninfo
from sqlalchemy import Connection, NullPool, TextClause, create_engine, text
from sqlalchemy.exc import DBAPIError

from sqp_refresh.errors import (
    AccessDenied,
    NotFound,
    Permanent,
    ReadOnly,
    RefreshError,
    SettingsError,
    Transient,
    one_line,
)
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.model.text import printable
from sqp_refresh.postgres import database_encoding
from sqp_refresh.postgres.migration_files import FOLDER, read_file
from sqp_refresh.postgres.session import SET_SEARCH_PATH, address_of, set_deadlines
from sqp_refresh.postgres.sqlstate import as_refresh_error, server_message, unreachable
from sqp_refresh.schema_name import in_schema

if TYPE_CHECKING:
    from alembic.config import Config

PROLOGUE = FOLDER / "prologue.sql"
ENCODING = FOLDER / "encoding.sql"
EPILOGUE = FOLDER / "epilogue.sql"

_OF_THE_SERVER = (Transient, ReadOnly, AccessDenied, SettingsError)
"""What the server itself is in no state for, whatever is asked of it."""

_log = logging.getLogger(__name__)
# Alembic keeps the migration in hand in module globals, so only one thread may use it at a time.
_alembic_lock = Lock()


def upgrade(database_url: str, revision: str = "head") -> list[str]:
    """Create schema `sqp`, or migrate it to a newer revision.

    Args:
        database_url: Where the target is.
        revision: Revision to migrate to, e.g. "0007"; the newest by default.

    Returns:
        The revisions that were applied, oldest first; empty if there was nothing to do.

    Raises:
        Unavailable: nothing answers at the address.
        AccessDenied: the user or password is wrong, or the user may not create the schema.
        NotFound: there is no such database, or no such revision.
        SettingsError: the database is not encoded in UTF8, or SQP_SCHEMA is a word of SQL.
        Permanent: the schema already has a table or function of the same name.
    """
    with _transaction(database_url) as connection:
        database_encoding.require_utf8(*connection.exec_driver_sql(database_encoding.QUERY).one())
        _require_plain_name(connection)
        return _run_alembic("upgrade", connection, revision)


def downgrade(database_url: str, revision: str = "base") -> list[str]:
    """Migrate schema `sqp` back, and drop the tables that later revisions created, with their rows.

    Args:
        database_url: Where the target is.
        revision: Revision to go back to; "base" removes the whole schema.

    Returns:
        The revisions that were taken back, newest first; empty if there was nothing to do.

    Raises:
        Permanent: the schema holds something that no migration created, or something depends on
            it; nothing is dropped then.
        RefreshError: as for `upgrade`.
    """
    with _transaction(database_url) as connection:
        if _read_revision(connection) is None:
            return []
        return _run_alembic("downgrade", connection, revision)


def render_sql() -> str:
    """Return what `upgrade` runs on an empty database, as plain SQL for other tools.

    The SQL also records the revision, so that `upgrade` has nothing to do afterwards.
    """
    from alembic import command

    script = StringIO()
    with _alembic_lock:
        command.upgrade(_config(output_buffer=script), "head", sql=True)
    return script.getvalue()


def current_revision(database_url: str) -> str | None:
    """Return the revision of a database, None if it was never migrated.

    Raises:
        RefreshError: as for `upgrade`.
    """
    with _transaction(database_url) as connection:
        return _read_revision(connection)


def newest_revision() -> str:
    """Return the revision that this release needs."""
    return max(path.stem[:4] for path in (FOLDER / "versions").glob("0*.py"))


def is_at_newest_revision(database_url: str) -> bool:
    """Return whether a database is at the revision that this release needs.

    Raises:
        RefreshError: as for `upgrade`.
    """
    return current_revision(database_url) == newest_revision()


def require_newest_revision(database_url: str) -> None:
    """Require that a database is at the revision that this release needs.

    Raises:
        NotFound: the schema does not exist, or is at another revision.
        RefreshError: as for `upgrade`.
    """
    revision, needed = current_revision(database_url), newest_revision()
    if revision != needed:
        raise NotFound(
            f"schema {SCHEMA} is not migrated (it is at {revision or 'nothing'}, this release "
            f"needs {needed}); run sqp-refresh migrate"
        )


def read_sql(path: Path) -> TextClause:
    """Return the SQL in a file as a statement, to be run as `read_file` gives it."""
    # SQLAlchemy takes a word after a colon for a parameter; these files have no parameters.
    return text(read_file(path).strip().removesuffix(";").replace(":", r"\:"))


def read_revision_sql(module: str, direction: str) -> TextClause:
    """Return the SQL of a revision.

    Args:
        module: The `__file__` of the revision's Python module; its SQL files are beside it.
        direction: "up" or "down".
    """
    return read_sql(Path(module).with_suffix(f".{direction}.sql"))


def _config(**options: Any) -> "Config":  # noqa: ANN401, Alembic's own keywords
    from alembic.config import Config

    config = Config(**options)
    # Alembic reads an option as a line of an ini file, where a percent sign is special.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config


def _run_alembic(command_name: str, connection: Connection, revision: str) -> list[str]:
    """Run Alembic's `upgrade` or `downgrade`; return the revisions applied, or taken back."""
    from alembic import command
    from alembic.util import CommandError

    revisions: list[str] = []
    config = _config(
        attributes={
            "connection": connection,
            "on_version_apply": lambda step, **_: revisions.append(step.up_revision_id),
        }
    )
    try:
        with _alembic_lock:
            getattr(command, command_name)(config, revision)
    except CommandError as error:
        raise NotFound(f"{one_line(error)}; this release goes up to {newest_revision()}") from error
    return revisions


def _read_revision(connection: Connection) -> str | None:
    table = f"{SCHEMA}.alembic_version"
    (exists,) = connection.execute(
        text("SELECT to_regclass(:table) IS NOT NULL"), {"table": table}
    ).one()
    if not exists:
        return None
    query = in_schema("SELECT version_num FROM sqp.alembic_version")
    return connection.execute(text(query)).scalar()


def _require_plain_name(connection: Connection) -> None:
    """Require that SQL may name the schema without quotes, as the migrations do."""
    query = text("SELECT quote_ident(:name)")
    if connection.execute(query, {"name": SCHEMA}).scalar() != SCHEMA:
        raise SettingsError(
            f"SQP_SCHEMA {SCHEMA} is a word of SQL; choose another name, e.g. {SCHEMA}_data"
        )


@contextmanager
def _transaction(database_url: str) -> Iterator[Connection]:
    """Open a transaction on the database; raise what goes wrong in it as a `RefreshError`."""
    engine = create_engine(
        "postgresql+psycopg://",
        creator=lambda: _connect(database_url),
        poolclass=NullPool,
        # No migration needs the type, which would be looked for in the catalog each time.
        use_native_hstore=False,
    )
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(SET_SEARCH_PATH)
            # Those of a provider are for its users' queries, and would end a long migration.
            set_deadlines(cast("psycopg.Connection", connection.connection.dbapi_connection))
            yield connection
    except DBAPIError as error:
        raise _translated(error.orig or error) from error


def _connect(database_url: str) -> psycopg.Connection:
    address = address_of(database_url)
    try:
        # A connection pooler may not support prepared statements.
        connection = psycopg.connect(conninfo.make_conninfo("", **address), prepare_threshold=None)
    except psycopg.Error as error:
        raise unreachable(server_message(error), address) from None
    connection.add_notice_handler(
        lambda notice: _log.warning(printable(notice.message_primary or ""))
    )
    # A migration that waited for another one must see what that one did.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    # SQLAlchemy asks the server for its version and more, in a transaction that is begun here.
    connection.execute(SET_SEARCH_PATH)
    return connection


def _translated(error: BaseException) -> RefreshError:
    message = f"Postgres: {one_line(error)}"
    match error:
        case psycopg.errors.InsufficientPrivilege():
            return AccessDenied(
                f"{message}; migrate as the owner of the database, and of schema {SCHEMA} if it "
                "exists"
            )
        case psycopg.errors.DependentObjectsStillExist():
            return Permanent(
                f"{message}: {_detail(error)}; nothing was dropped: move or drop what is yours "
                "first"
            )
        case psycopg.errors.DuplicateTable() | psycopg.errors.DuplicateFunction():
            return Permanent(
                f"{message}; schema {SCHEMA} holds something of another origin: set SQP_SCHEMA to "
                f"another name, e.g. {SCHEMA}_next, to work beside it; or move it elsewhere, then "
                "migrate again"
            )
        case psycopg.Error():
            known = as_refresh_error(error)
            # What is wrong with a value or a name is so in the migration, not in the source.
            return known if isinstance(known, _OF_THE_SERVER) else Permanent(message)
        case _:
            return Permanent(message)


def _detail(error: psycopg.Error) -> str:
    return "; ".join((error.diag.message_detail or "").splitlines())
