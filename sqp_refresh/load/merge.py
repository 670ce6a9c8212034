"""A part into its table, by the shortest way that makes the target equal to it.

    only the source has changed   the rows that differ into staging, and from there into the table
    the table has none of it yet  all rows straight into the table
    else                          all rows into staging, where they are compared with the table's

A part that Postgres computes itself is compared where it is computed, whole or as far as it may
have changed.
"""

from itertools import chain
from typing import TYPE_CHECKING

from psycopg import sql

from sqp_refresh.checks.period_totals import measure_period
from sqp_refresh.ledger.target_version import Baseline, TargetVersion
from sqp_refresh.load.append import as_read, copy_straight, goes_straight, ready
from sqp_refresh.load.merge_sql import (
    Read,
    changed_statement,
    insert_statement,
    key_of,
    present_statement,
    publish_statement,
    ranked,
)
from sqp_refresh.load.pgcopy.encoding import ENCODED
from sqp_refresh.load.result import Counts, LoadResult, NeedsMerge
from sqp_refresh.load.staging import STAGING, stage
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, SqlRows
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.session import Session

if TYPE_CHECKING:
    from sqp_refresh.load.delta import DeltaFilter


def publish(
    session: Session,
    table: Table,
    part: PeriodRows,
    *,
    known: Baseline | None = None,
    whole: bool = False,
) -> LoadResult:
    """Make the target's rows of the part's period equal to the part's, writing only what differs.

    The caller has held the rows against their contract, holds the table's lock, and commits. An
    empty part deletes nothing.

    Args:
        session: A session with the target, in a transaction.
        table: The target.
        part: The rows.
        known: The rows that the target holds of the period, by which only those are sent that it
            does not; somebody else may have changed them meanwhile. A part that is not whole needs
            it.
        whole: Send all rows, and compare them with all that the target holds; for where nothing is
            known, or may be believed.

    Raises:
        NeedsMerge: the part has lost rows, or has a key twice, or somebody else has changed the
            target meanwhile; nothing may be committed.
        DataError: a value does not fit its column, or rows would be lost.
        SchemaMismatch: a column has no exact equal in Postgres.
    """
    if isinstance(part.rows, SqlRows):
        return _computed(session, table, part.period, part.rows, known)
    # Polars takes a while to import, and only rows need it.
    from sqp_refresh.load.delta import DeltaFilter

    rows, period = part.rows, part.period
    straight = known is None and not whole and goes_straight(session, table, period, rows.schema)
    rows = ready(table, period, rows) if straight else as_read(rows)
    read = Read(sql.Identifier(STAGING), tuple(n for n in rows.schema.names if n != ENCODED))
    kept = known.fingerprints if known else None
    incoming = DeltaFilter.of(rows, read.columns, key_of(table, read), kept)
    left: TargetVersion | None = None
    if straight:
        counts = copy_straight(session, table, incoming)
    elif known is not None:
        counts, left = _differing(session, table, period, read, incoming, known.held)
    else:
        counts = _compared(session, table, period, read, incoming)
    now = measure_period(session, table, period)
    if left is not None and left != now.held:
        raise NeedsMerge
    counts.check_nothing_lost()
    return LoadResult(counts, now, incoming.fingerprints())


def _computed(
    session: Session, table: Table, period: Period, query: SqlRows, known: Baseline | None
) -> LoadResult:
    read = Read(sql.Identifier("read"), query.columns, query.select)
    left: TargetVersion | None = None
    if query.is_whole:
        counts = _published(session, table, period, read)
    else:
        assert known, "a part is whole where it is not known what the table holds"
        changed, moved = _changed(session, table, period, read)
        counts = changed.beside(known.held.rows - changed.updated - changed.unchanged)
        left = known.held.after(changed.inserted, moved)
    now = measure_period(session, table, period)
    if left is not None and left != now.held:
        raise NeedsMerge
    counts.check_nothing_lost()
    return LoadResult(counts, now)


def _compared(
    session: Session, table: Table, period: Period, read: Read, incoming: "DeltaFilter"
) -> Counts:
    """Send all rows, and compare them with all that the target has."""
    stage(session, incoming.batches.schema, incoming.differing())
    # Ranking the rows of each key takes longer than all the rest, and hardly a week needs it.
    has_each_key_once = incoming.has_each_key_once
    return _published(session, table, period, read if has_each_key_once else ranked(table, read))


def _differing(
    session: Session,
    table: Table,
    period: Period,
    read: Read,
    incoming: "DeltaFilter",
    before: TargetVersion,
) -> tuple[Counts, TargetVersion]:
    """Send the rows that differ; each one that the target has must be met by one that came.

    Returns:
        What became of them, and what the target holds now unless somebody else has changed it.
    """
    differing = incoming.each_once()
    first = next(differing, None)
    counts, moved = Counts(), 0
    if first is not None:
        stage(session, first.schema, chain([first], differing))
        counts, moved = _changed(session, table, period, read)
    if incoming.left_out + counts.updated + counts.unchanged != before.rows:
        raise NeedsMerge
    return counts.beside(incoming.left_out), before.after(counts.inserted, moved)


def _changed(session: Session, table: Table, period: Period, read: Read) -> tuple[Counts, int]:
    """Publish rows that may differ; returns what became of them, and how far places moved."""
    *numbers, moved = session.row(changed_statement(table, period, read))
    return Counts(*numbers), int(moved)


def _published(session: Session, table: Table, period: Period, read: Read) -> Counts:
    (is_present,) = session.row(present_statement(table, period))
    statement = publish_statement if is_present else insert_statement
    return Counts(*session.row(statement(table, period, read)))
