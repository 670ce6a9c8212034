"""Find the periods whose source holds something else now than they were last loaded from.

Within the look-back, `decide` finds them and they are loaded at once. Behind it, somebody has to
ask for them. What was found is kept in the ledger until the period is loaded, so that a period that
nobody could load is not forgotten.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from sqp_refresh.ledger.ledger import LedgerEntry, hash_json, published_periods, read_entries
from sqp_refresh.ledger.parent_versions import read_parent_versions
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.versions import ParentVersions, SourceVersion, Version
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

_RECORD = in_schema("""
UPDATE sqp.refresh_periods AS entry
SET stale_since = CASE WHEN is_stale THEN now() END
FROM unnest(%(first_days)s::date[], %(are_stale)s::boolean[]) AS compared (first_day, is_stale)
WHERE table_schema = %(schema)s AND table_name = %(table)s AND period_start = first_day
    AND (stale_since IS NOT NULL) <> is_stale
""")
_STALE = in_schema("""
SELECT table_name, period_start, period_end, stale_since FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND stale_since IS NOT NULL
ORDER BY table_name, period_start
""")


@dataclass(frozen=True, slots=True)
class Restatement:
    """What a period should be made from by now.

    Attributes:
        weeks: The Sundays of the weeks that differ from what the period was loaded from.
        state: A hash of what the source holds of the period.
    """

    weeks: Sequence[date]
    state: str


@dataclass(frozen=True, slots=True)
class StalePeriod:
    """A period whose source is known to be ahead of the table.

    Attributes:
        table: Name of the table.
        period: The week or period.
        since: When that was first seen; None where it was seen only now.
    """

    table: str
    period: Period
    since: datetime | None = None


def is_stale(table: Table, entry: LedgerEntry, now: Version) -> bool:
    """Return whether the source holds something else of a period than it was loaded from.

    Args:
        table: The table.
        entry: How the period was last loaded.
        now: What the source holds of it now.
    """
    if entry.version is None:
        # Of a week that came empty, the rows were kept; rows that come again are news.
        return _has_rows(table, now)
    if isinstance(now, ParentVersions):
        return bool(now.changed_since(entry.version))
    return entry.version != now


def periods_behind_parents(session: Session, table: Table) -> list[Period]:
    """List the periods of a derived table that are not made from what its parents hold now."""
    entries = read_entries(session, table, published_periods(session, table))
    versions = read_parent_versions(session, table, entries)
    return [period for period, entry in entries.items() if is_stale(table, entry, versions[period])]


def find_restatements(
    session: Session, table: Table, versions: Mapping[Period, Version]
) -> dict[Period, Restatement]:
    """Find those of the periods that the table should be given again, and record which they are.

    They are those that the source has changed since they were loaded, those that did not equal it
    then, and those that were never loaded although an earlier one was.

    Args:
        session: A session in a transaction.
        table: The table.
        versions: What each of the periods is made from now.
    """
    entries = read_entries(session, table, list(versions))
    entries = {period: entry for period, entry in entries.items() if period in versions}
    stale = {
        period for period, entry in entries.items() if is_stale(table, entry, versions[period])
    }
    record_staleness(session, table, entries, stale)
    missed = {
        period
        for period, now in versions.items()
        if period not in entries and period > min(entries, default=period) and _has_rows(table, now)
    }
    doubted = {period for period, entry in entries.items() if entry.needs_reload}
    return {
        period: _restatement(period, entries.get(period), versions[period])
        for period in sorted(stale | missed | doubted)
    }


def record_staleness(
    session: Session,
    table: Table,
    entries: Mapping[Period, LedgerEntry],
    stale: Collection[Period],
) -> None:
    """Record which periods were found stale, and which were not, where that is news.

    Args:
        session: A session in a transaction.
        table: The table.
        entries: The periods that were compared with their source.
        stale: Those of them that are stale.
    """
    news = [
        period for period, entry in entries.items() if entry.is_known_stale != (period in stale)
    ]
    if not news:
        return
    params = {
        "schema": SCHEMA,
        "table": table.name,
        "first_days": [period.start for period in news],
        "are_stale": [period in stale for period in news],
    }
    session.execute(_RECORD, params)


def list_known_stale(session: Session) -> list[StalePeriod]:
    """List the periods that were found stale and have not been loaded since, by table."""
    return [
        StalePeriod(table, Period(first, last), since)
        for table, first, last, since in session.fetch_all(_STALE, {"schema": SCHEMA})
    ]


def _restatement(period: Period, entry: LedgerEntry | None, now: Version) -> Restatement:
    if isinstance(now, SourceVersion):
        return Restatement([period.start], hash_json(now.to_json()))
    before = entry.version if entry else None
    # Where no week differs, as of a period that was never made, all of it is to be made.
    weeks = now.changed_since(before) or now.changed_since(None)
    return Restatement(weeks, hash_json(now.to_json()))


def _has_rows(table: Table, version: Version) -> bool:
    if isinstance(version, SourceVersion):
        return bool(version.rows_to_read(table))
    return any(version.weeks.values())
