"""Encoded rows into a table by COPY, once its column types are known to be exactly theirs."""

from collections.abc import Iterable, Mapping
from itertools import chain

import pyarrow as pa
from psycopg import sql

from sqp_refresh.load.pgcopy.encoding import HEADER, TRAILER, as_sent
from sqp_refresh.postgres.session import Session

_COPY = sql.SQL("COPY {table} ({columns}) FROM STDIN (FORMAT binary)")


def catalog_types(session: Session, table: str) -> Mapping[str, str]:
    """What the catalog says of a table's columns, in order; COPY compares their lengths only.

    Args:
        session: A session with the target.
        table: Its name with its schema, quoted where SQL wants it so.
    """
    return dict(
        session.rows(
            sql.SQL(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
                " WHERE attrelid = {}::regclass AND attnum > 0 AND NOT attisdropped"
                " ORDER BY attnum"
            ).format(sql.Literal(table))
        )
    )


def copy(
    session: Session,
    table: sql.Identifier,
    columns: Iterable[str],
    rows: Iterable[pa.LargeBinaryArray],
) -> int:
    """COPY encoded rows into a table of exactly their types; returns how many.

    Args:
        session: A session with the target, in a transaction.
        table: The table.
        columns: Those of every row.
        rows: As `encoded` makes them.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    data = chain([HEADER], map(as_sent, rows), [TRAILER])
    return session.copy(_COPY.format(table=table, columns=names), data)
