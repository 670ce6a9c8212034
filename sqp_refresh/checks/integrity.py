"""Find ASINs of a week that one of the tables filled from BigQuery has, and the other does not."""

from collections.abc import Mapping

from psycopg import sql

from sqp_refresh.ledger.ledger import LedgerEntry, read_entries
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import ASIN_PERFORMANCE_DATA, SEARCH_QUERY_PERFORMANCE, Table
from sqp_refresh.model.versions import SourceVersion, Version
from sqp_refresh.postgres.period_sql import (
    REQUESTED,
    REQUESTED_DAYS,
    between_days,
    requested_params,
    target_name,
)
from sqp_refresh.postgres.session import Session, identifier

UNMATCHED_ASIN_WEEKS = "unmatched_asin_weeks"

_UNMATCHED = sql.SQL("""
SELECT __sqp_requested.first, __sqp_requested.last, (
    SELECT count(*) FROM ({table}) AS here FULL JOIN ({other}) AS there USING ({key})
    WHERE here.asin IS NULL OR there.asin IS NULL
)
FROM {requested}
""")
_ASIN_WEEKS = sql.SQL("SELECT DISTINCT {key} FROM {table} WHERE {in_period}")
_KEY = sql.SQL(", ").join(identifier(column.name) for column in ASIN_PERFORMANCE_DATA.key)


def has_integrity(table: Table) -> bool:
    """Return whether a table is the one that is compared; both would fail by the same rows."""
    return table.name == SEARCH_QUERY_PERFORMANCE.name


def unmatched_asin_weeks(
    session: Session, table: Table, entries: Mapping[Period, LedgerEntry]
) -> dict[Period, int]:
    """Count the ASINs of each week that only one of the two tables has.

    A week is counted once both tables were loaded from the same rows of the source.

    Args:
        session: A session in a transaction.
        table: The table.
        entries: How each of its periods was last loaded.
    """
    if not has_integrity(table):
        return {}
    other = ASIN_PERFORMANCE_DATA
    before = read_entries(session, other, list(entries))
    same = [
        period
        for period, entry in entries.items()
        if period in before and _is_same_source(entry.version, before[period].version)
    ]
    if not same:
        return {}
    counts = session.fetch_all(_query(table, other), requested_params(same))
    # Rows and ledger change in one transaction: another run may have loaded the other table.
    after = read_entries(session, other, same)
    by_period = {Period(first, last): unmatched for first, last, unmatched in counts}
    return {
        period: unmatched
        for period, unmatched in by_period.items()
        if after.get(period) == before[period]
    }


def _query(table: Table, other: Table) -> sql.Composed:
    return _UNMATCHED.format(
        table=_asin_weeks(table), other=_asin_weeks(other), key=_KEY, requested=REQUESTED
    )


def _asin_weeks(table: Table) -> sql.Composed:
    return _ASIN_WEEKS.format(
        key=_KEY,
        table=target_name(table),
        in_period=between_days(table, *REQUESTED_DAYS),
    )


def _is_same_source(version: Version | None, other: Version | None) -> bool:
    if not isinstance(version, SourceVersion) or not isinstance(other, SourceVersion):
        return False
    return (version.digest, version.marketplace) == (other.digest, other.marketplace)
