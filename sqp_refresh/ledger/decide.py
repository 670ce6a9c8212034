"""Decide which periods have to be loaded again, and why; nothing is written."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from sqp_refresh.ledger.ledger import LedgerEntry, definition_hash, read_entries
from sqp_refresh.ledger.pins import Pin, read_pins
from sqp_refresh.ledger.target_version import TargetVersion, target_versions
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.model.versions import ParentVersions, SourceVersion, Version
from sqp_refresh.postgres.session import Session


class ReloadReason(StrEnum):
    """Why a period is loaded, or is not."""

    NEW = "never published"
    SOURCE_CHANGED = "the source changed"
    TARGET_CHANGED = "the table was changed by somebody else"
    EMPTY = "empty in the source, rows kept"
    DOUBTED = "it did not equal the source"
    FORCED = "forced"
    PARENT = "a table that it is made from is copied"
    NOTHING = "empty in the source"
    ROLLED_BACK = "rolled back"
    UNCHANGED = "unchanged"
    RESUMED = "published by the run that was interrupted"
    PINNED = "pinned"

    @property
    def loads(self) -> bool:
        """Whether the period has to be loaded."""
        return self not in _NOT_LOADED


_NOT_LOADED = (
    ReloadReason.UNCHANGED,
    ReloadReason.RESUMED,
    ReloadReason.PINNED,
    ReloadReason.NOTHING,
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a period.

    Attributes:
        reason: Whether it has to be loaded, and why.
        version: What it is made from now.
        rows: Rows that loading it will read, None where that is not known; for a period that is
            left as it is, the rows that it has (count).
        entry: How it was last loaded; None where it never was.
        is_made_alike: Whether the same source would make the same rows as the last time.
        target: What the table holds of it now; None where that did not have to be read.
        is_forced: Whether it is loaded whatever the ledger says, so that nothing of the ledger is
            believed.
        pin: What keeps it from being loaded; None where nothing does.
    """

    reason: ReloadReason
    version: Version
    rows: int | None
    entry: LedgerEntry | None = None
    is_made_alike: bool = False
    target: TargetVersion | None = None
    is_forced: bool = False
    pin: Pin | None = None

    @property
    def rows_there(self) -> int:
        """Rows that the table was left with when it was last loaded (count)."""
        return _rows_left(self.entry)

    @property
    def only_source_changed(self) -> bool:
        """Whether the table may be taken to hold what it was left with, and is made as before."""
        is_source = self.reason is ReloadReason.SOURCE_CHANGED
        return is_source and self.is_made_alike and not self.is_forced

    @property
    def added_weeks(self) -> list[date]:
        """The Sundays of the weeks that a derived period has gained, if all else is as it was."""
        if not self.only_source_changed or self.entry is None:
            return []
        now, before = self.version, self.entry.version
        if not isinstance(now, ParentVersions) or not isinstance(before, ParentVersions):
            return []
        return now.added_since(before)

    @property
    def has_lost_rows(self) -> bool:
        """Whether the table must hold fewer rows than it does, so that some have vanished."""
        target = self.target or (self.entry.target if self.entry else None)
        if target is None or not isinstance(self.version, SourceVersion):
            return False
        expected = self.version.expected_rows
        return expected is not None and expected < target.rows

    @property
    def has_superseded_rows(self) -> bool:
        """Whether a key comes twice, so that only all rows together tell which one counts."""
        return isinstance(self.version, SourceVersion) and self.version.superseded > 0


def decide(
    session: Session,
    table: Table,
    versions: Mapping[Period, Version],
    *,
    force: bool = False,
    resumed: Collection[str] = (),
    rolls_back: bool = False,
) -> dict[Period, Decision]:
    """Decide what is to be done with each period.

    Args:
        session: A session with the target.
        table: The table.
        versions: What each of the periods is made from now.
        force: Load them all the same.
        resumed: The periods that this very refresh loaded before it was interrupted.
        rolls_back: Whether they are published as they were, whatever there is to be said of them.

    A week whose source has changed is loaded; one whose source has not, only where somebody has
    written to its rows, which takes a look at the table. One that is pinned is never loaded.
    """
    made_by, pins = definition_hash(table), read_pins(session, table)
    entries = read_entries(session, table, list(versions))
    same = {
        period
        for period, version in versions.items()
        if period in entries and _has_same_source(entries[period], version, made_by)
    }
    # To read and hash the rows of a period that is loaded anyway would tell nothing.
    left = [period for period in versions if period in same or period.start in pins]
    targets = target_versions(session, table, left)
    decisions = {}
    for period, version in versions.items():
        entry, target, pin = entries.get(period), targets.get(period), pins.get(period.start)
        reason = _reason(entry, target, is_same=period in same)
        if rolls_back:
            is_done = str(period) in resumed
            reason = ReloadReason.RESUMED if is_done else ReloadReason.ROLLED_BACK
        elif pin:
            reason = ReloadReason.PINNED
        elif reason is ReloadReason.UNCHANGED and str(period) in resumed:
            reason = ReloadReason.RESUMED
        elif reason is ReloadReason.UNCHANGED and force:
            reason = ReloadReason.FORCED
        decisions[period] = Decision(
            reason,
            version,
            rows=_rows_to_read(table, version) if reason.loads else _rows_left(entry),
            entry=entry,
            is_made_alike=entry is not None and entry.definition_hash == made_by,
            target=target,
            is_forced=force,
            pin=pin,
        )
    return decisions


def _has_same_source(entry: LedgerEntry, version: Version, made_by: str) -> bool:
    return entry.version == version and entry.definition_hash == made_by


def _reason(
    entry: LedgerEntry | None, target: TargetVersion | None, *, is_same: bool
) -> ReloadReason:
    """Compare the entry of a period with what is there now."""
    if entry is None:
        return ReloadReason.NEW
    if entry.version is None:
        return ReloadReason.EMPTY
    if entry.needs_reload:
        return ReloadReason.DOUBTED
    if not is_same:
        return ReloadReason.SOURCE_CHANGED
    return ReloadReason.UNCHANGED if target == entry.target else ReloadReason.TARGET_CHANGED


def _rows_left(entry: LedgerEntry | None) -> int:
    return entry.target.rows if entry else 0


def _rows_to_read(table: Table, version: Version) -> int | None:
    return version.rows_to_read(table) if isinstance(version, SourceVersion) else None
