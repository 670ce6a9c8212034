"""Arrow batches into a temporary table whose column types are exactly theirs."""

from collections.abc import Iterable, Iterator

import pyarrow as pa
from psycopg import sql

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.load.copy import catalog_types, copy
from sqp_refresh.load.pgcopy.encoding import encoded, postgres_type
from sqp_refresh.postgres.session import Session, type_name

STAGING = "staging"
_ROWS_AT_ONCE = 5_000


def stage(session: Session, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """COPY the batches into the transaction's staging table; returns the rows copied.

    Raises:
        SchemaMismatch: a column's type has no exact equal in Postgres.
    """
    wanted = {field.name: postgres_type(field) for field in schema}
    session.run(_create(wanted))
    found = catalog_types(session, f"pg_temp.{STAGING}")
    if list(found.items()) != list(wanted.items()):
        raise SchemaMismatch(f"the staging table is {found}, but the batches are {wanted}")
    target = sql.Identifier("pg_temp", STAGING)
    return copy(session, target, schema.names, map(encoded, _in_pieces(batches)))


def _in_pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows, fewer at once: Postgres works on some while more are encoded."""
    for batch in batches:
        for start in range(0, batch.num_rows, _ROWS_AT_ONCE):
            yield batch.slice(start, _ROWS_AT_ONCE)


def _create(columns: dict[str, str]) -> sql.Composed:
    return sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
        sql.Identifier(STAGING),
        sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), type_name(type_))
            for name, type_ in columns.items()
        ),
    )
