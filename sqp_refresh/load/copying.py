"""Arrow batches into a table by COPY, once its column types are known to be exactly theirs."""

from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa
from psycopg import sql

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.postgres import Session

_ROWS_AT_ONCE = 1_000
"""Few enough to fit into a socket's buffer, so that Postgres works on some while more are made."""

_POSTGRES_TYPE: dict[pa.DataType, str] = {
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.date32(): "date",
    pa.bool_(): "boolean",
    pa.timestamp("us", "UTC"): "timestamp with time zone",
}


def postgres_type(field: pa.Field) -> str:
    """The Postgres type whose binary form is that of an Arrow field.

    Raises:
        SchemaMismatch: there is none; the column must be cast in Arrow first.
    """
    if pa.types.is_decimal128(field.type):
        return "numeric"
    if field.type not in _POSTGRES_TYPE:
        raise SchemaMismatch(
            f"column {field.name!r} has the Arrow type {field.type}, not one of ours"
        )
    return _POSTGRES_TYPE[field.type]


def catalog_types(session: Session, table: str) -> Mapping[str, str]:
    """What the catalog says of a table's columns, in their order; the driver never compares it.

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
    table: str,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
    *,
    within: str | None = None,
) -> int:
    """COPY the batches into a table of exactly their types; returns the rows copied.

    Args:
        session: A session with the target, in a transaction.
        table: The table's name.
        schema: Of every batch.
        batches: The rows.
        within: The schema that the table is in; None is the session's temporary one.
    """
    failures: list[BaseException] = []
    reader = pa.RecordBatchReader.from_batches(schema, _sliced(batches, failures))
    try:
        return session.copy(table, reader, within=within)
    except Exception as error:
        # Arrow's C stream carries a failed read as text only; show the error that was raised.
        raise (failures[0] if failures else error) from error


def _sliced(
    batches: Iterable[pa.RecordBatch], failures: list[BaseException]
) -> Iterator[pa.RecordBatch]:
    try:
        for batch in batches:
            for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
                yield batch.slice(start, _ROWS_AT_ONCE)
    except BaseException as error:
        failures.append(error)
        raise
