"""A period that the target has no row of: COPY straight into it, if nothing is to be computed."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sqp_refresh.errors import DataError
from sqp_refresh.load.cast import exact_schema, exactly
from sqp_refresh.load.copy import catalog_types, copy
from sqp_refresh.load.merge_sql import present_statement
from sqp_refresh.load.pgcopy.encoding import ENCODED, encoded
from sqp_refresh.load.result import Counts
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, SourceBatches, SqlRows
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session

if TYPE_CHECKING:
    from sqp_refresh.load.delta import DeltaFilter

# COPY leaves policies aside, and Postgres refuses it to whom they bind.
_IS_BOUND = sql.SQL("SELECT row_security_active({}::regclass)")


def goes_straight(session: Session, table: Table, period: Period, read: pa.Schema) -> bool:
    """Whether COPY may put rows straight into the target, or they have to go by way of staging.

    That is where the target has rows of the period, where a column is computed, where a type is
    no longer what we made it, and where row security binds the user.
    """
    if exact_schema(table, period, read) is None:
        return False
    target = sql.Identifier(SCHEMA, table.name).as_string(None)
    (is_present,) = session.row(present_statement(table, period))
    (is_bound,) = session.row(_IS_BOUND.format(sql.Literal(target)))
    types = catalog_types(session, target)
    is_as_made = all(types.get(column.name) == column.type for column in table.columns)
    return is_as_made and not is_present and not is_bound


def encode_ahead(table: Table, part: PeriodRows) -> PeriodRows:
    """The same part, its batches made ready to go straight into the target, where it has some."""
    if isinstance(part.rows, SqlRows | SourceBatches):
        return part
    return replace(part, rows=ready(table, part.period, part.rows))


def ready(table: Table, period: Period, rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same rows, as they may go straight into the target; itself where they may not.

    Each batch is put in order by key: neighbours in the table are neighbours in its index then,
    which is less work to enter. And each row brings what it is sent as, in the column `ENCODED`.

    Raises:
        DataError: a number is too large for its column; as the rows are read.
    """
    exact = exact_schema(table, period, rows.schema)
    if exact is None or ENCODED in rows.schema.names:
        return rows
    key = [column.name for column in table.key if column.name in rows.schema.names]
    options = pc.SortOptions([(name, "ascending") for name in key])
    field = pa.field(ENCODED, pa.large_binary())

    def made(batch: pa.RecordBatch) -> pa.RecordBatch:
        batch = batch.take(pc.call_function("sort_indices", [batch], options))
        return batch.append_column(field, encoded(exactly(exact, period, batch)))

    return pa.RecordBatchReader.from_batches(rows.schema.append(field), map(made, rows))


def as_read(rows: pa.RecordBatchReader) -> pa.RecordBatchReader:
    """The same rows without what was made ready in vain."""
    if ENCODED not in rows.schema.names:
        return rows
    fields = [field for field in rows.schema if field.name != ENCODED]
    batches = (batch.select([field.name for field in fields]) for batch in rows)
    return pa.RecordBatchReader.from_batches(pa.schema(fields), batches)


def copy_straight(session: Session, table: Table, incoming: "DeltaFilter") -> Counts:
    """COPY rows that were made ready into the target, which has none of their period.

    Raises:
        NeedsMerge: a key comes twice.
        DataError: a value does not fit its column.
    """
    target = sql.Identifier(SCHEMA, table.name)
    columns = [column.name for column in table.columns]
    batches = incoming.each_once()
    try:
        copied = copy(session, target, columns, (batch.column(ENCODED) for batch in batches))
    except DataError:
        # Where the target's own key has noticed first, the rest of the rows tells.
        for _ in batches:
            pass
        raise
    return Counts(read=incoming.read, inserted=copied)
