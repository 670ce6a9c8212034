"""A period that the target has no row of: COPY straight into it, if nothing is to be computed."""

from dataclasses import replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sqp_refresh.errors import DataError
from sqp_refresh.load.copying import catalog_types, copy, in_pieces
from sqp_refresh.load.counts import Counts
from sqp_refresh.load.exact import exact_schema, exactly
from sqp_refresh.load.outcome import Undecided
from sqp_refresh.load.statement import present_statement
from sqp_refresh.parts import Part, Query, Raw
from sqp_refresh.postgres import Session
from sqp_refresh.tables import SCHEMA, Table
from sqp_refresh.weeks import Period

if TYPE_CHECKING:
    from sqp_refresh.load.fingerprints import Incoming

# COPY leaves policies aside, and Postgres refuses it to whom they bind.
_IS_BOUND = sql.SQL("SELECT row_security_active({}::regclass)")


def straight_schema(
    session: Session, table: Table, period: Period, read: pa.Schema
) -> pa.Schema | None:
    """What COPY would send straight into the target; None where it has to go by way of staging.

    That is where the target has rows of the period, where a column is computed, where a type is
    no longer what we made it, and where row security binds the user.
    """
    schema = exact_schema(table, period, read)
    if schema is None:
        return None
    target = sql.Identifier(SCHEMA, table.name).as_string(None)
    (is_present,) = session.row(present_statement(table, period))
    (is_bound,) = session.row(_IS_BOUND.format(sql.Literal(target)))
    types = catalog_types(session, target)
    is_as_made = all(types.get(column.name) == column.type for column in table.columns)
    return schema if is_as_made and not is_present and not is_bound else None


def copy_straight(
    session: Session,
    table: Table,
    period: Period,
    schema: pa.Schema,
    incoming: "Incoming",
) -> Counts:
    """COPY rows into the target, which has none of the period.

    Raises:
        Undecided: a key comes twice.
        DataError: a value does not fit its column.
    """
    exact = (exactly(schema, period, piece) for piece in in_pieces(incoming.each_once()))
    try:
        copied = copy(session, sql.Identifier(SCHEMA, table.name), schema, exact)
    except DataError:
        if incoming.has_each_key_once:
            raise
        raise Undecided from None  # the target's own key has noticed first
    return Counts(read=incoming.read, inserted=copied)


def in_order(table: Table, part: Part) -> Part:
    """The same part, each of its batches by key, where it is one of batches.

    Neighbours in the table are neighbours in its indexes then, which is less work to enter.
    """
    if isinstance(part.rows, Query | Raw):
        return part
    schema = part.rows.schema
    names = [column.name for column in table.key if column.name in schema.names]
    options = pc.SortOptions([(name, "ascending") for name in names])
    ordered = (
        batch.take(pc.call_function("sort_indices", [batch], options)) for batch in part.rows
    )
    return replace(part, rows=pa.RecordBatchReader.from_batches(schema, ordered))
