"""Arrow batches into a temporary table whose column types are exactly theirs."""

from collections.abc import Iterator

import pyarrow as pa
from psycopg import sql

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.postgres import Session, typed

STAGING = "staging"

_POSTGRES_TYPE: dict[pa.DataType, str] = {
    pa.int64(): "bigint",
    pa.float64(): "double precision",
    pa.string(): "text",
    pa.date32(): "date",
    pa.bool_(): "boolean",
    pa.timestamp("us", "UTC"): "timestamp with time zone",
}


def stage(session: Session, batches: pa.RecordBatchReader) -> int:
    """COPY the batches into the transaction's staging table; returns the rows copied.

    Raises:
        SchemaMismatch: a column's type has no exact equal in Postgres.
    """
    wanted = {field.name: postgres_type(field) for field in batches.schema}
    session.run(_create(wanted))
    _check_types(session, wanted)
    failures: list[BaseException] = []
    try:
        return session.copy_into_temporary(STAGING, _remembering(batches, failures))
    except Exception as error:
        # Arrow's C stream carries a failed read as text only; show the error that was raised.
        raise (failures[0] if failures else error) from error


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


def _create(columns: dict[str, str]) -> sql.Composed:
    return sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
        sql.Identifier(STAGING),
        sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), typed(type_))
            for name, type_ in columns.items()
        ),
    )


def _check_types(session: Session, wanted: dict[str, str]) -> None:
    """Compare with what the catalog says, because the driver itself never does."""
    catalog = session.rows(
        sql.SQL(
            "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = {}::regclass AND attnum > 0 ORDER BY attnum"
        ).format(sql.Literal(f"pg_temp.{STAGING}"))
    )
    if catalog != list(wanted.items()):
        raise SchemaMismatch(f"the staging table is {catalog}, but the batches are {wanted}")


def _remembering(
    batches: pa.RecordBatchReader, failures: list[BaseException]
) -> pa.RecordBatchReader:
    def guarded() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except BaseException as error:
            failures.append(error)
            raise

    return pa.RecordBatchReader.from_batches(batches.schema, guarded())
