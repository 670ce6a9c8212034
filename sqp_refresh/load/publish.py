"""A part into its table: staged if it comes as Arrow, then published by one statement."""

from psycopg import sql

from sqp_refresh.load.counts import Counts
from sqp_refresh.load.staging import STAGING, stage
from sqp_refresh.load.statement import publish_statement, staged_rows
from sqp_refresh.parts import Part, Query
from sqp_refresh.postgres import Session
from sqp_refresh.tables import Table


def publish(session: Session, table: Table, part: Part) -> Counts:
    """Make the target's rows of the part's period equal to the part's, writing only what differs.

    The caller has held the rows against their contract, holds the table's lock, and commits. An
    empty part deletes nothing.

    Raises:
        DataError: a value does not fit its column, or rows would be lost.
        SchemaMismatch: a column has no exact equal in Postgres.
    """
    if isinstance(part.rows, Query):
        rows = sql.SQL("SELECT *, 1 AS place FROM ({}) AS computed").format(part.rows.select)
        available = part.rows.columns
    else:
        stage(session, part.rows)
        available = tuple(part.rows.schema.names)
        rows = staged_rows(table, available, STAGING)
    counts = Counts(*session.row(publish_statement(table, part.period, rows, available)))
    counts.check_nothing_lost()
    return counts
