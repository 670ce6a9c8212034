"""The ledger `sqp.refresh_periods`: what each period was made from when it was last published.

A period is copied when what it is made from has changed, or when its rows in the table are no
longer those that were published. What a derived table is made from is the ledger of its parents.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import Any

from psycopg import sql

from sqp_refresh import __version__
from sqp_refresh.ledger.target_version import Baseline, TargetVersion, held, period_rows
from sqp_refresh.model.contract import contract_of
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import WEEKS, Source, State
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session


class ReloadReason(StrEnum):
    """Why a period is copied, or is not."""

    NEW = "never published"
    SOURCE_CHANGED = "the source changed"
    TARGET_CHANGED = "the table was changed by somebody else"
    EMPTY = "empty in the source, rows kept"
    DOUBTED = "it did not equal the source"
    FORCED = "forced"
    PARENT = "a table that it is made from is copied"
    UNCHANGED = "unchanged"
    RESUMED = "published by the run that broke off"

    @property
    def copies(self) -> bool:
        """Whether the period has to be copied."""
        return self not in (ReloadReason.UNCHANGED, ReloadReason.RESUMED)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """A period as it was last published.

    Attributes:
        source_state: What it was made from; None where it must be made again.
        target_state: Fingerprint of its rows.
        rows: How many rows it has in the table.
    """

    source_state: Mapping[str, Any] | None
    target_state: str
    rows: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done with a period.

    Attributes:
        reason: Whether it has to be copied, and why.
        source_state: What it is made from now.
        rows: Rows that copying it will read, None where that is not known; for a period that is
            left as it is, the rows that it has.
        held: What the table holds of it: as it is now where that decides, else as it was published.
        before: What it was last made from; empty where it was not, or was left as it is.
    """

    reason: ReloadReason
    source_state: Mapping[str, Any]
    rows: int | None
    held: TargetVersion | None = None
    before: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """What the period is made from, for what it says of its rows."""
        return State(self.source_state)

    @property
    def only_source_changed(self) -> bool:
        """Whether the same rows of the source would make the same rows as before."""
        is_made_alike = self.before.get(DEFINITION) == self.source_state[DEFINITION]
        return self.reason is ReloadReason.SOURCE_CHANGED and is_made_alike

    @property
    def gained(self) -> list[date]:
        """The Sundays of the weeks that a derived period has gained, if all else is as it was."""
        return self.state.gained_since(self.before) if self.only_source_changed else []

    @property
    def needs_all_rows(self) -> bool:
        """Whether it can be told beforehand that only all rows together tell what to do."""
        lands = self.state.lands
        has_lost = self.held is not None and lands is not None and lands < self.held.rows
        return has_lost or self.state.superseded > 0


DEFINITION = "definition"
DOUBTED = "doubted"

_PUBLISHED = sql.SQL("""
SELECT period_start, period_end, source_state::text, target_state, row_count
FROM sqp.refresh_periods
WHERE table_schema = {schema} AND table_name = {table}
    AND period_start BETWEEN {first} AND {last}
""")
_RECORD = sql.SQL("""
INSERT INTO sqp.refresh_periods AS known (
    table_schema, table_name, period_start, period_end, source_state, target_state, row_count,
    row_fingerprints, changed_by, published_by, published_at
)
VALUES ({schema}, {table}, {first}, {last}, {source_state}::jsonb, {target_state}, {rows},
    {fingerprints}, {audit_id}, {audit_id}, now())
ON CONFLICT (table_schema, table_name, period_start) DO UPDATE
SET period_end = excluded.period_end, source_state = excluded.source_state,
    target_state = excluded.target_state, row_count = excluded.row_count,
    row_fingerprints = CASE WHEN {is_kept} THEN known.row_fingerprints
        ELSE excluded.row_fingerprints END,
    changed_by = CASE WHEN {changed} THEN excluded.changed_by ELSE known.changed_by END,
    published_by = excluded.published_by, published_at = excluded.published_at
""")
_NEWEST = sql.SQL("""
SELECT max(period_start) FROM sqp.refresh_periods
WHERE table_schema = {schema} AND table_name = {table}
""")
_ROW_COUNTS = sql.SQL("""
SELECT period_start, period_end, row_count FROM sqp.refresh_periods
WHERE table_schema = {schema} AND table_name = {table} AND row_count > 0
ORDER BY period_start
""")
_FINGERPRINTS = sql.SQL("""
SELECT row_count, target_state, row_fingerprints FROM sqp.refresh_periods
WHERE table_schema = {schema} AND table_name = {table} AND period_start = {first}
    AND period_end = {last} AND row_count > 0 AND row_fingerprints IS NOT NULL
""")
_DOUBT = sql.SQL("""
UPDATE sqp.refresh_periods SET source_state = source_state || '{{"doubted": true}}'
WHERE table_schema = {schema} AND table_name = {table}
    AND (period_start, period_end) IN (VALUES {wanted})
""")
# The newest week is on record before its rows have arrived: until then, nothing is made from it.
_INPUTS = sql.SQL("""
SELECT wanted.first, wanted.last, (
    SELECT coalesce(jsonb_object_agg(period_start, changed_by), '{{}}')::text
    FROM sqp.refresh_periods AS known
    WHERE known.table_schema = {schema} AND known.table_name = {parent} AND known.row_count > 0
        AND known.period_start BETWEEN wanted.first AND wanted.last
)
FROM (VALUES {wanted}) AS wanted (first, last)
""")


def made_from(table: Table, state: State) -> dict[str, Any]:
    """What a period is made from, and how: another release, or definition, makes it anew."""
    return {**state.value, DEFINITION: definition_of(table)}


def definition_of(table: Table) -> str:
    """A digest of how a table is made: its columns, what is computed, and the row contract."""
    definition = [
        __version__,
        [(column.name, column.type) for column in table.columns],
        table.ratios,
        table.medians,
        table.sums,
        table.counts,
        sorted(table.kept_when_null),
        [rule.sql for rule in contract_of(table.source)] if table.source else [],
    ]
    return _digest(definition)


def _digest(value: object) -> str:
    return hashlib.md5(json.dumps(value).encode(), usedforsecurity=False).hexdigest()


def reason_for(
    period: Period,
    known: LedgerEntry | None,
    source_state: Mapping[str, Any],
    held: TargetVersion | None,
    *,
    force: bool = False,
    resumed: Iterable[str] = (),
) -> ReloadReason:
    """Whether a period has to be copied, and why.

    Args:
        period: The period.
        known: How it was last published, if it was.
        source_state: What it is made from now.
        held: What the table holds of it now; needed only where its source has not changed.
        force: Copy it all the same.
        resumed: The periods that this very refresh published before it broke off.
    """
    if known is None:
        return ReloadReason.NEW
    if known.source_state is None:
        return ReloadReason.EMPTY
    if known.source_state.get(DOUBTED):
        return ReloadReason.DOUBTED
    if known.source_state != source_state:
        return ReloadReason.SOURCE_CHANGED
    if held is None or known.target_state != held.state:
        return ReloadReason.TARGET_CHANGED
    if str(period) in resumed:
        return ReloadReason.RESUMED
    return ReloadReason.FORCED if force else ReloadReason.UNCHANGED


def examine(
    session: Session,
    table: Table,
    feed: Source,
    periods: Sequence[Period],
    *,
    force: bool = False,
    resumed: Iterable[str] = (),
) -> dict[Period, Decision]:
    """What is to be done with each period, and why; nothing is written.

    Args:
        session: A session with the target.
        table: The table.
        feed: What the table is fed from.
        periods: The periods in question.
        force: Copy them all the same.
        resumed: The periods that this very refresh published before it broke off.
    """
    states = feed.states(session, periods)
    known = published(session, table, periods)
    made = {period: made_from(table, states[period]) for period in periods}
    # To read and hash the rows of a period that is copied anyway would tell nothing.
    same = [one for one in periods if one in known and known[one].source_state == made[one]]
    present = held(session, table, same)
    findings = {}
    for period in periods:
        before, now = known.get(period), present.get(period)
        reason = reason_for(period, before, made[period], now, force=force, resumed=resumed)
        rows = before.rows if before and not reason.copies else states[period].rows
        if before and now is None:
            now = TargetVersion(before.rows, before.target_state)
        made_before = (before.source_state or {}) if before else {}
        findings[period] = Decision(reason, made[period], rows, now, made_before)
    return findings


def restated(session: Session, feed: Source, periods: Sequence[Period]) -> dict[Period, str]:
    """Those of the periods, once published, that the source has changed since.

    Returns:
        For each, a digest of what the source holds of it now.
    """
    found = {}
    states = feed.states(session, periods)
    for period, known in published(session, feed.table, periods).items():
        now = states[period].value
        before = dict(known.source_state or {})
        before.pop(DEFINITION, None)
        came_back = known.source_state is None and states[period].rows
        if came_back or (before and before != now):
            found[period] = _digest(now)
    return found


def published(
    session: Session, table: Table, periods: Sequence[Period]
) -> dict[Period, LedgerEntry]:
    """How each of these periods was last published, where it was."""
    if not periods:
        return {}
    found = session.rows(
        _PUBLISHED.format(
            **_named(table),
            first=sql.Literal(min(periods).start),
            last=sql.Literal(max(periods).start),
        )
    )
    return {
        Period(first, last): LedgerEntry(json.loads(state) if state else None, target, rows)
        for first, last, state, target, rows in found
    }


def as_published(session: Session, table: Table, period: Period) -> Baseline | None:
    """The rows that a table was left with when a period was published; None where it had none.

    Whether it still has them is not asked here.
    """
    found = session.rows(
        _FINGERPRINTS.format(
            **_named(table), first=sql.Literal(period.start), last=sql.Literal(period.end)
        )
    )
    # To a period without rows, all that come are new.
    return next(
        (Baseline(TargetVersion(rows, state), of_rows) for rows, state, of_rows in found), None
    )


def record(
    session: Session,
    table: Table,
    period: Period,
    source_state: Mapping[str, Any] | None,
    *,
    held: TargetVersion,
    audit_id: int,
    changed: bool,
    fingerprints: bytes | None = None,
    known: Baseline | None = None,
) -> None:
    """Enter a period as published, in the transaction that publishes it.

    Args:
        session: The session whose transaction publishes the period.
        table: The table.
        period: The period just published.
        source_state: What it was made from; None has it made again by the next refresh.
        held: What the table holds of it now.
        audit_id: The run that published it.
        changed: Whether that changed a row.
        fingerprints: What its rows were made of; None where that would not tell them apart.
        known: What the ledger has of it so far; None where that was not looked up.
    """
    is_kept = known is not None and known.fingerprints == fingerprints
    session.run(
        _RECORD.format(
            **_named(table),
            first=sql.Literal(period.start),
            last=sql.Literal(period.end),
            source_state=sql.Literal(None if source_state is None else json.dumps(source_state)),
            target_state=sql.Literal(held.state),
            rows=sql.Literal(held.rows),
            audit_id=sql.Literal(audit_id),
            changed=sql.Literal(changed),
            # They are large, so that those which are kept already are not written once more.
            is_kept=sql.Literal(is_kept),
            fingerprints=_binary(None if is_kept else fingerprints),
        )
    )


def row_counts(session: Session, table: Table) -> dict[Period, int]:
    """The rows of every period that has some, in order of time."""
    found = session.rows(_ROW_COUNTS.format(**_named(table)))
    return {Period(first, last): rows for first, last, rows in found}


def doubt(session: Session, table: Table, periods: Iterable[Period]) -> None:
    """Have the next refresh make these periods again: they do not hold what their source says."""
    wanted = period_rows(periods)
    if wanted is not None:
        session.run(_DOUBT.format(**_named(table), wanted=wanted))


def newest(session: Session, table: Table) -> date | None:
    """First day of the newest period that was ever published; None where none was."""
    (first_day,) = session.row(_NEWEST.format(**_named(table)))
    return first_day


def inputs(session: Session, table: Table, periods: Iterable[Period]) -> dict[Period, State]:
    """What each period of a derived table is made from: the last change to each week below it.

    A parent's week that was published again without a change makes no difference, nor does one
    without rows.
    """
    wanted = period_rows(periods)
    if wanted is None:
        return {}
    weeks: dict[Period, dict[str, Any]] = {}
    for parent in table.parents:
        query = _INPUTS.format(
            schema=sql.Literal(SCHEMA), parent=sql.Literal(parent), wanted=wanted
        )
        for first, last, changes in session.rows(query):
            weeks.setdefault(Period(first, last), {})[parent] = json.loads(changes)
    return {period: State({WEEKS: by_parent}) for period, by_parent in weeks.items()}


def _binary(value: bytes | None) -> sql.Composable:
    if value is None:
        return sql.SQL("NULL::bytea")
    return sql.SQL("decode({}, 'hex')").format(sql.Literal(value.hex()))


def _named(table: Table) -> dict[str, sql.Literal]:
    return {"schema": sql.Literal(SCHEMA), "table": sql.Literal(table.name)}
