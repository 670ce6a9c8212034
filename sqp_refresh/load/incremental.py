"""Load a month, quarter or year that has only gained weeks: add these to the sums it has."""

from psycopg import sql

from sqp_refresh.ledger.ledger import Baseline
from sqp_refresh.load.merge_sql import ReadRows
from sqp_refresh.load.result import LoadResult, NeedsMerge
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.load.upsert import confirm, upsert
from sqp_refresh.model.rows import SqlRows
from sqp_refresh.postgres.session import Session


def load(
    session: Session, target: TargetPeriod, rows: SqlRows, baseline: Baseline | None
) -> LoadResult:
    """Write the rows that the added weeks change; all others stay as they are.

    Raises:
        NeedsMerge: somebody else has written to the target, or it does not hold what the ledger
            says; nothing may be committed.
    """
    if baseline is None:
        raise NeedsMerge
    read = ReadRows(sql.Identifier("read"), rows.columns, rows.select)
    counts, hash_change = upsert(session, target, read)
    totals = confirm(session, target, baseline.target.after_writing(counts.inserted, hash_change))
    counts = counts.with_unchanged(baseline.target.rows - counts.updated - counts.unchanged)
    counts.check_nothing_lost()
    return LoadResult(counts, totals)
