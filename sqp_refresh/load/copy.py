"""COPY encoded rows into the target or into staging, once its column types are exactly theirs.

COPY in its binary format compares the lengths of values and nothing else: eight bytes of a double
would be taken for a bigint. So the types are compared here, before a byte is sent.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

import pyarrow as pa
from psycopg import sql

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.load.pgcopy.encoding import HEADER, TRAILER, as_sent, encoded, postgres_type
from sqp_refresh.postgres.session import Session, type_name

STAGING = "staging"
_ROWS_AT_ONCE = 5_000

_TYPES = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = %(table)s::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
"""
_COPY = sql.SQL("COPY {table} ({columns}) FROM STDIN (FORMAT binary)")
# The temporary table lives in the transaction, so that a pooler which pools those is no obstacle.
_CREATE_STAGING = sql.SQL("CREATE TEMPORARY TABLE {table} ({columns}) ON COMMIT DROP")


def catalog_types(session: Session, table: sql.Identifier) -> Mapping[str, str]:
    """Read the type of each of a table's columns from the catalog, in order."""
    return dict(session.fetch_all(_TYPES, {"table": table.as_string(None)}))


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


def stage(session: Session, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """COPY batches into the transaction's staging table; returns the rows copied.

    Raises:
        SchemaMismatch: a column's type has no exact equal in Postgres.
    """
    types = {field.name: postgres_type(field) for field in schema}
    staging = sql.Identifier("pg_temp", STAGING)
    session.execute(_create_staging(types))
    created = catalog_types(session, staging)
    if list(created.items()) != list(types.items()):
        raise SchemaMismatch(f"the staging table is {created}, but the batches are {types}")
    return copy(session, staging, schema.names, map(encoded, _in_pieces(batches)))


def _create_staging(types: Mapping[str, str]) -> sql.Composed:
    columns = (
        sql.SQL("{} {}").format(sql.Identifier(name), type_name(type_))
        for name, type_ in types.items()
    )
    return _CREATE_STAGING.format(
        table=sql.Identifier(STAGING), columns=sql.SQL(", ").join(columns)
    )


def _in_pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Cut batches into smaller ones: Postgres works on some while more are encoded."""
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield batch.slice(start, _ROWS_AT_ONCE)
