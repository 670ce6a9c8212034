"""Compute the grid of weeks: how each week of each table stands, and its numbers.

A month, quarter or year is one cell beside the weeks that it holds, and so is a whole table.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

from psycopg.rows import class_row

from sqp_refresh.ledger.finality import WeekFinality, WeekState, read_weeks
from sqp_refresh.model.periods import ALL_TIME, DAYS_IN_WEEK, Period, weeks_between
from sqp_refresh.model.tables import TABLES
from sqp_refresh.monitoring.dashboard.formatting import format_count, format_day, format_instant
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import SCHEMA, in_schema

SHOWN_WEEKS = 13
"""The newest weeks, which are shown at once."""

EARLIER_WEEKS = 52
"""Weeks before them that can be opened."""

_CELLS = in_schema("""
SELECT week.table_name AS table, week.period_start AS first, week.period_end AS last, week.status,
    week.row_count AS rows, week.rows_in_quarantine AS quarantined, week.published_at,
    pin.reason AS pinned, entry.held_state IS NOT NULL AS is_held
FROM sqp.refresh_weeks AS week
LEFT JOIN sqp.refresh_periods AS entry ON entry.table_schema = %(schema)s
    AND entry.table_name = week.table_name AND entry.period_start = week.period_start
LEFT JOIN sqp.refresh_pins AS pin ON pin.table_schema = %(schema)s
    AND pin.table_name = week.table_name AND pin.period_start = week.period_start
WHERE week.period_end >= %(since)s
ORDER BY week.table_name, week.period_start
""")
_RULE = in_schema("SELECT arriving_nights, arrival_days FROM sqp.refresh_finality")


class CellState(StrEnum):
    """How a period of a table stands, the worst first."""

    REJECTED = "rejected"
    DIFFERS = "not like its source"
    HELD = "held back"
    MISSING = "missing"
    QUARANTINED = "rows in quarantine"
    PINNED = "pinned"
    RESTATED = "restated"
    ARRIVING = "arriving"
    FRESH = "fresh"
    AWAITED = "not come yet"

    @property
    def mark(self) -> str:
        """Return the sign that tells it from others without its colour."""
        return _MARKS[self]

    @property
    def css(self) -> str:
        """Return its CSS class."""
        return self.name.lower()


_MARKS = {
    CellState.REJECTED: "×",  # noqa: RUF001, a sign, not a letter
    CellState.DIFFERS: "≠",
    CellState.HELD: "‖",
    CellState.MISSING: "?",
    CellState.QUARANTINED: "!",
    CellState.PINNED: "●",
    CellState.RESTATED: "↻",
    CellState.ARRIVING: "…",
    CellState.FRESH: "",
    CellState.AWAITED: "",
}
_BROKEN = {"rejected": CellState.REJECTED, "doubted": CellState.DIFFERS}
_STANDS = {
    "rejected": "too many of its rows broke their contract, what was there before stays",
    "doubted": "the next refresh loads it again",
    "kept": "it became empty in the source, and its rows were kept",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    table: str
    first: date
    last: date
    status: str
    rows: int
    quarantined: int
    published_at: datetime | None
    pinned: str | None
    is_held: bool

    @property
    def is_week(self) -> bool:
        return (self.last - self.first).days < DAYS_IN_WEEK


@dataclass(frozen=True, slots=True)
class Cell:
    """A period of a table.

    Attributes:
        state: How it stands.
        period: The period.
        rows: Rows of it (count).
        quarantined: Its rows that wait in quarantine (count).
        restatements: How often it was restated (count).
        label: All of it in words.
        height: Rows of the grid that it takes, which are weeks (count).
    """

    state: CellState
    period: Period
    rows: int
    quarantined: int
    restatements: int
    label: str
    height: int = 1


@dataclass(frozen=True, slots=True)
class WeekRow:
    """A week, and the cells that begin in its row of the grid, by the names of their tables."""

    week: Period
    cells: Mapping[str, Cell]


@dataclass(frozen=True, slots=True)
class Grid:
    """The weeks of all tables.

    Attributes:
        tables: Names of the tables, in the order of their columns.
        parts: The newest weeks and the earlier ones, each with the newest week first.
        states: How many cells of the newest weeks stand in each way, the worst first (count).
    """

    tables: Sequence[str] = ()
    parts: Sequence[Sequence[WeekRow]] = ()
    states: Mapping[CellState, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of the weeks of the report, and the thresholds to judge others by."""

    weeks: Mapping[date, Sequence[WeekFinality]]
    today: date
    arriving_nights: int
    arrival_days: int

    def within(self, table: str, period: Period) -> list[WeekFinality]:
        """List the weeks of a period, of each marketplace; none for a table of another source."""
        if table not in TABLES:
            return []
        sundays = [sunday for sunday in self.weeks if period.start <= sunday <= period.end]
        return [week for sunday in sundays for week in self.weeks[sunday]]

    def is_restated(self, week: WeekFinality) -> bool:
        """Return whether it was restated so lately that somebody may not know it."""
        nights = (self.today - week.last_changed_at.astimezone(UTC).date()).days
        is_recent = week.restatements > 0 and nights < self.arriving_nights
        return is_recent or week.state == WeekState.RESTATED

    def is_late(self, week: Period) -> bool:
        """Return whether a week that has not come should have."""
        return (self.today - week.end).days > self.arrival_days


def read_grid(session: Session, tables: Sequence[str], at: datetime) -> Grid:
    """Read how the weeks of tables stand.

    Args:
        session: A session in a transaction.
        tables: Names of the tables, in the order of their columns.
        at: The instant that the figures are as of.
    """
    today = at.astimezone(UTC).date()
    nights, days = next(iter(session.fetch_all(_RULE)), (3, 28))
    weeks: dict[date, list[WeekFinality]] = defaultdict(list)
    for week in read_weeks(session):
        weeks[week.week].append(week)
    since = today - timedelta(weeks=SHOWN_WEEKS + EARLIER_WEEKS)
    entries = session.fetch_all(
        _CELLS, {"schema": SCHEMA, "since": since}, row_factory=class_row(_Entry)
    )
    return _build(tables, entries, _Known(weeks, today, nights, days))


def _build(tables: Sequence[str], entries: Sequence[_Entry], known: _Known) -> Grid:
    """Lay the entries out by week and table, the newest week first."""
    by_table = {table: [of for of in entries if of.table == table] for table in tables}
    there = {of.first for of in entries if of.rows and of.table in tables and of.is_week}
    if not there:
        return Grid()
    last_finished = known.today - timedelta(days=DAYS_IN_WEEK)
    weeks = list(weeks_between(min(there), max(*there, last_finished)))[::-1]
    parts = [
        _rows(weeks[first:last], by_table, there, known)
        for first, last in ((0, SHOWN_WEEKS), (SHOWN_WEEKS, SHOWN_WEEKS + EARLIER_WEEKS))
        if weeks[first:last]
    ]
    states = Counter(cell.state for row in parts[0] for cell in row.cells.values())
    ordered = {state: states[state] for state in CellState if states[state]}
    return Grid(tables, parts, ordered)


def _rows(
    weeks: Sequence[Period],
    by_table: Mapping[str, Sequence[_Entry]],
    there: Collection[date],
    known: _Known,
) -> list[WeekRow]:
    """Return the rows of some weeks; a longer period is in the row of its newest one."""
    cells: dict[Period, dict[str, Cell]] = {week: {} for week in weeks}
    for table, entries in by_table.items():
        newest = None
        for week in weeks:
            entry = next((of for of in entries if of.first <= week.start <= of.last), None)
            cell = _cell(table, week, entry, known, is_there=week.start in there)
            if newest and cells[newest][table].period == cell.period:
                above = cells[newest][table]
                cells[newest][table] = replace(above, height=above.height + 1)
            else:
                cells[week][table], newest = cell, week
    return [WeekRow(week, cells[week]) for week in weeks]


def _cell(table: str, week: Period, entry: _Entry | None, known: _Known, *, is_there: bool) -> Cell:
    period = Period(entry.first, entry.last) if entry else week
    of_report = known.within(table, period)
    if entry is None or (not entry.rows and entry.status != "rejected"):
        state = CellState.MISSING if is_there or known.is_late(week) else CellState.AWAITED
    else:
        state = _state(entry, of_report, known)
    restatements = max((of.restatements for of in of_report), default=0)
    lines = [f"{table}, {_named(period)}: {state}"]
    if entry:
        lines += _details(entry)
    if restatements:
        lines.append(f"restated {restatements} ×")  # noqa: RUF001, a sign, not a letter
    if period == week:
        lines += [_of_marketplace(of) for of in of_report]
    rows, quarantined = (entry.rows, entry.quarantined) if entry else (0, 0)
    return Cell(state, period, rows, quarantined, restatements, "\n".join(lines))


def _state(entry: _Entry, of_report: Sequence[WeekFinality], known: _Known) -> CellState:
    """Return the worst that is true of a period that has rows, or is rejected."""
    if entry.status in _BROKEN:
        return _BROKEN[entry.status]
    if entry.is_held or entry.status == "kept":
        return CellState.HELD
    if entry.quarantined:
        return CellState.QUARANTINED
    if entry.pinned:
        return CellState.PINNED
    if any(map(known.is_restated, of_report)):
        return CellState.RESTATED
    is_arriving = any(week.state == WeekState.ARRIVING for week in of_report)
    return CellState.ARRIVING if is_arriving else CellState.FRESH


def _details(entry: _Entry) -> Iterator[str]:
    yield f"{format_count(entry.rows)} rows"
    if entry.quarantined:
        yield f"{format_count(entry.quarantined)} rows in quarantine"
    if entry.status in _STANDS:
        yield _STANDS[entry.status]
    if entry.is_held:
        yield "too much of it changed in the source, what was there before stays"
    if entry.pinned:
        yield f"pinned: {entry.pinned}"
    if entry.published_at:
        yield f"last published {format_instant(entry.published_at)}"


def _of_marketplace(week: WeekFinality) -> str:
    usual = f" of {week.asins_expected:,} that are usual" if week.asins_expected else ""
    return f"{week.marketplace}: {week.state}, {week.asins:,} ASINs{usual}"


def _named(period: Period) -> str:
    days = (period.end - period.start).days + 1
    if days <= DAYS_IN_WEEK:
        return f"week of {format_day(period.start)}"
    return "whole table" if period == ALL_TIME else f"from {format_day(period.start)}"
