"""Arrow batches into a table by COPY, once its column types are known to be exactly theirs."""

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
from psycopg import sql

from sqp_refresh.load.wire import HEADER, TRAILER, to_wire
from sqp_refresh.postgres import Session

_ROWS_AT_ONCE = 2_000
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
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> int:
    """COPY the batches into a table of exactly their types; returns the rows copied.

    Args:
        session: A session with the target, in a transaction.
        table: The table.
        schema: Of every batch.
        batches: The rows.
    """
    statement = _COPY.format(
        table=table, columns=sql.SQL(", ").join(map(sql.Identifier, schema.names))
    )
    return session.copy(statement, _written(batches))


def in_pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, few at once, so that Postgres works on some while more are made ready."""
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield batch.slice(start, _ROWS_AT_ONCE)


def _written(batches: Iterable[pa.RecordBatch]) -> Iterator[bytes | memoryview]:
    yield HEADER
    yield from map(to_wire, in_pieces(batches))
    yield TRAILER
