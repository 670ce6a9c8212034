"""Require that a database is encoded in UTF8, which alone has every character of a search query."""

from psycopg import sql

from sqp_refresh.errors import SettingsError

QUERY = "SELECT current_setting('server_encoding'), current_database()"

_UTF8 = "UTF8"
# The locale of the server may be one of the other encoding; C goes with every encoding.
_CREATE = sql.SQL(
    "CREATE DATABASE {} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
)


def require_utf8(encoding: str, database: str) -> str:
    """Return a message that the encoding is UTF8; what `QUERY` answers is given.

    Args:
        encoding: The encoding of the database, as Postgres names it.
        database: Name of the database.

    Raises:
        SettingsError: it is another one; the message says how to make a database in UTF8.
    """
    if encoding == _UTF8:
        return f"database {database} is encoded in {_UTF8}"
    create = _CREATE.format(sql.Identifier(f"{database}_utf8")).as_string(None)
    raise SettingsError(
        f"database {database} is encoded in {encoding}, in which not every search query can be "
        f"stored: one that cannot keeps its whole week out, every night; {create}, and point "
        "DATABASE_URL at it"
    )
