"""Hold a week back of which the source has lost or changed so much that it may be a bad export.

The guard weighs what the *source* has changed since the week was published, and nothing else:

    a table filled row by row      rows that publishing the week deletes or updates
    one that BigQuery aggregates   rows that publishing the week deletes, and rows that the source
                                   has lost; a single one that it restates updates the sums of its
                                   ASIN, so that updates tell nothing
    where rows may differ for      rows that the source has lost: somebody else wrote to the table,
    another reason                 or it is made in another way than it was

New rows never count. A state of the source that lasts for three nights is believed. Derived tables
follow the tables that they are made from, and are not weighed themselves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

from sqp_refresh.ledger.decide import Decision
from sqp_refresh.ledger.ledger import HeldState, LedgerEntry, hash_json
from sqp_refresh.ledger.pins import IS_UNPINNED
from sqp_refresh.ledger.target_version import target_versions
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Origin, Table
from sqp_refresh.model.versions import SourceVersion
from sqp_refresh.postgres.period_sql import period_params
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

MAX_DELETE_RATIO = 0.5
"""The share of a week's rows that a refresh may delete or change, unless a table has its own."""

FEWEST_ROWS = 100
"""A week with fewer rows is never held back: a few rows are soon half of them (count)."""

NIGHTS = 3
"""On how many nights the source must be seen in one state for that to be believed (count)."""

_HOLD = in_schema("""
UPDATE sqp.refresh_periods SET held_state = %(state)s, held_nights = %(nights)s
WHERE table_schema = %(schema)s AND table_name = %(table)s
    AND period_start = %(period_start)s AND period_end = %(period_end)s
""")

_HELD = in_schema(f"""
SELECT table_name, period_start, period_end, cardinality(held_nights)
FROM sqp.refresh_periods AS entry
WHERE table_schema = %(schema)s AND held_state IS NOT NULL AND {IS_UNPINNED}
ORDER BY table_name, period_start
""")  # noqa: S608, nothing is put in that is not written in this package


@dataclass(frozen=True, slots=True)
class HeldPeriod:
    """A period that is held back.

    Attributes:
        table: Name of the table.
        period: The week or period.
        nights: On how many nights its source was seen like this (count).
    """

    table: str
    period: Period
    nights: int


@dataclass(frozen=True, slots=True)
class Change:
    """What the source has changed of the rows that were there.

    Attributes:
        rows: The rows that were there (count).
        deleted: Those of them that are gone (count).
        updated: Those of them that have other values (count).
        is_of_source: Whether they are rows of the source, not of the table.
    """

    rows: int
    deleted: int
    updated: int = 0
    is_of_source: bool = False

    @property
    def ratio(self) -> float:
        """The part of them that is not as it was, from 0 to 1."""
        return (self.deleted + self.updated) / self.rows if self.rows else 0.0

    def __str__(self) -> str:
        """Say it with its counts."""
        if self.is_of_source:
            return f"its source has lost {self.deleted:,} of {self.rows:,} rows"
        return (
            f"{self.deleted:,} of its {self.rows:,} rows would be deleted and "
            f"{self.updated:,} changed"
        )


class HeldBack(Exception):
    """More of a period has changed than may without somebody's word; nothing of it is published.

    Attributes:
        change: What has changed.
        held: The state of the source that is held back, and on which nights it was.
        is_new: Whether that is seen for the first time.
    """

    def __init__(self, change: Change, limit: float, held: HeldState, *, is_new: bool) -> None:
        super().__init__(f"{change}, which is more than max_delete_ratio {limit:g} of them")
        self.change = change
        self.held = held
        self.is_new = is_new


def changes_of_source(
    table: Table, decision: Decision, in_table: Change, *, is_edited: bool = False
) -> list[Change]:
    """Return what of a change the source has made, in each way that it can be weighed.

    Args:
        table: The table.
        decision: Why its period is loaded.
        in_table: What loading the period changes in the table.
        is_edited: Whether somebody else had written to the period.
    """
    entry, now = decision.entry, decision.version
    if entry is None or not isinstance(now, SourceVersion) or entry.version == now:
        return []
    before = entry.version if isinstance(entry.version, SourceVersion) else None
    # Another marketplace is another key of every row.
    is_alike = decision.is_made_alike and (before is None or before.marketplace == now.marketplace)
    is_by_source = is_alike and not is_edited
    if is_by_source and table.origin is Origin.SOURCE_ROWS:
        return [in_table]
    changes = [replace(in_table, updated=0)] if is_by_source else []
    if before:
        lost = max(0, before.rows - now.rows)
        changes.append(Change(before.rows, lost, is_of_source=True))
    return changes


def require_plausible(
    session: Session, decision: Decision, changes: Sequence[Change], limit: float
) -> None:
    """Require that no more has changed than may, or that the source says so for long enough.

    Args:
        session: A session in the transaction that publishes the period.
        decision: Why the period is loaded.
        changes: What the source has changed.
        limit: The part of the rows that may change, from 0 to 1.

    Raises:
        HeldBack: more has; nothing of the period may be committed.
    """
    entry = decision.entry
    too_great = [each for each in changes if each.rows >= FEWEST_ROWS and each.ratio > limit]
    if not too_great or entry is None or entry.accepts_any_change:
        return
    held, is_new = _held(entry, decision, session.now().date())
    if len(held.nights) < NIGHTS:
        raise HeldBack(too_great[0], limit, held, is_new=is_new)


def _held(entry: LedgerEntry, decision: Decision, today: date) -> tuple[HeldState, bool]:
    """Return the state of the source with its nights, and whether it is news."""
    state = hash_json(decision.version.to_json())
    if entry.held is None or entry.held.state != state:
        return HeldState(state, frozenset({today})), True
    return replace(entry.held, nights=entry.held.nights | {today}), False


def is_held_back(decision: Decision) -> bool:
    """Return whether the state of the source is one that was held back before."""
    held = decision.entry.held if decision.entry else None
    return held is not None and held.state == hash_json(decision.version.to_json())


def hold(session: Session, table: Table, period: Period, held: HeldState) -> None:
    """Record the state of the source that a period is held back from, until it is published."""
    params = {"schema": SCHEMA, "table": table.name, "state": held.state}
    session.execute(_HOLD, params | period_params(period) | {"nights": sorted(held.nights)})


def is_edited(session: Session, table: Table, period: Period, entry: LedgerEntry) -> bool:
    """Return whether a period does not have the rows that it was left with."""
    return target_versions(session, table, [period])[period] != entry.target


def list_held(session: Session) -> list[HeldPeriod]:
    """List the periods of all tables that are held back."""
    return [
        HeldPeriod(table, Period(first, last), nights)
        for table, first, last, nights in session.fetch_all(_HELD, {"schema": SCHEMA})
    ]
