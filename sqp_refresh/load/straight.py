"""A period that the target has no row of: COPY straight into it, if nothing is to be computed."""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
from psycopg import sql

from sqp_refresh.errors import DataError
from sqp_refresh.held import held
from sqp_refresh.load.copying import catalog_types, copy
from sqp_refresh.load.counts import Counts
from sqp_refresh.load.exact import exact_schema, exactly
from sqp_refresh.load.outcome import Undecided
from sqp_refresh.load.statement import present_statement
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
    exact = (_in_order(table, exactly(schema, period, one)) for one in incoming.each_once())
    try:
        sent = copy(session, table.name, schema, exact, within=SCHEMA)
    except DataError:
        if incoming.has_each_key_once:
            raise
        raise Undecided from None  # the target's own key has noticed first
    # The driver counts what it sent; a trigger of the table may have dropped some of it.
    return Counts(read=sent, inserted=held(session, table, [period])[period].rows)


def _in_order(table: Table, batch: pa.RecordBatch) -> pa.RecordBatch:
    """By key: neighbours in the table are neighbours in its indexes, which takes less work."""
    key = [(column.name, "ascending") for column in table.key]
    return batch.take(pc.call_function("sort_indices", [batch], pc.SortOptions(key)))
