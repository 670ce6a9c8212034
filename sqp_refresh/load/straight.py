"""A period that the target has no row of: COPY straight into it, if nothing is to be computed."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sqp_refresh.load.copying import catalog_types, copy
from sqp_refresh.load.counts import Counts
from sqp_refresh.load.exact import exact_schema, exactly
from sqp_refresh.load.statement import present_statement
from sqp_refresh.postgres import Session
from sqp_refresh.tables import SCHEMA, Table
from sqp_refresh.weeks import Period

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
    (present,) = session.row(present_statement(table, period))
    (is_bound,) = session.row(_IS_BOUND.format(sql.Literal(target)))
    types = catalog_types(session, target)
    is_as_made = all(types.get(column.name) == column.type for column in table.columns)
    return schema if is_as_made and not present and not is_bound else None


def copy_straight(
    session: Session,
    table: Table,
    period: Period,
    schema: pa.Schema,
    batches: Iterable[pa.RecordBatch],
) -> Counts:
    """COPY the batches into the target, which has no row of the period.

    Raises:
        DataError: a value does not fit its column.
    """
    exact = (_in_order(table, exactly(schema, period, batch)) for batch in batches)
    sent = copy(session, table.name, schema, exact, within=SCHEMA)
    # The driver counts what it sent; a trigger of the table may have dropped some of it.
    (landed,) = session.row(present_statement(table, period))
    return Counts(read=sent, inserted=landed)


def _in_order(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    """By key: neighbours in the table are neighbours in its indexes, which takes less work."""
    key = [(column.name, "ascending") for column in table.key]
    return batch.take(pc.call_function("sort_indices", [batch], pc.SortOptions(key)))
