"""A part into its table: staged if it comes as Arrow, then published by one statement."""

from psycopg import sql

from sqp_refresh.load.counts import Counts
from sqp_refresh.load.staging import STAGING, stage
from sqp_refresh.load.statement import (
    Read,
    insert_statement,
    present_statement,
    publish_statement,
    ranked,
    repeated_statement,
)
from sqp_refresh.parts import Part, Query
from sqp_refresh.postgres import Session
from sqp_refresh.tables import Table
from sqp_refresh.weeks import Period


def publish(session: Session, table: Table, part: Part) -> Counts:
    """Make the target's rows of the part's period equal to the part's, writing only what differs.

    The caller has held the rows against their contract, holds the table's lock, and commits. An
    empty part deletes nothing.

    Raises:
        DataError: a value does not fit its column, or rows would be lost.
        SchemaMismatch: a column has no exact equal in Postgres.
    """
    if isinstance(part.rows, Query):
        read = Read(sql.Identifier("read"), part.rows.columns, part.rows.select)
        return _published(session, table, part.period, read)
    stage(session, part.rows)
    read = Read(sql.Identifier(STAGING), tuple(part.rows.schema.names))
    (is_repeated,) = session.row(repeated_statement(table, read))
    # Ranking the rows of each key takes longer than all the rest, and hardly a week needs it.
    return _published(session, table, part.period, ranked(table, read) if is_repeated else read)


def _published(session: Session, table: Table, period: Period, read: Read) -> Counts:
    (is_present,) = session.row(present_statement(table, period))
    statement = publish_statement if is_present else insert_statement
    counts = Counts(*session.row(statement(table, period, read)))
    counts.check_nothing_lost()
    return counts
