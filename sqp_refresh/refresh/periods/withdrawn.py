"""Tell withdrawn rows apart: rows that were deleted because their source broke the contract.

A row that vanished and a row that turned bad are both deleted, which keeps the tables consistent
with each other. Of the second kind the source still has the rows, and something is wrong with them.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from sqp_refresh.control import quarantine
from sqp_refresh.control.quarantine import WaitingRow
from sqp_refresh.extract.casts import READABLE
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.extract.sql import WEEK
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import (
    CHILD_ASIN_TITLE,
    DATE,
    PARENT_ASIN_TITLE,
    SEARCH_QUERY_PERFORMANCE,
    Origin,
    SourceSpec,
    Table,
)
from sqp_refresh.model.versions import SourceVersion
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.result import RefreshState

if TYPE_CHECKING:
    import pyarrow as pa

UNREADABLE = "a value cannot be read as what its column is"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of the source that breaks its contract.

    Attributes:
        week: First day of its week.
        row: Its values by our names.
        reasons: What is wrong with it.
        invalid: The columns that are themselves wrong.
        is_new: Whether it is known to be bad only now.
    """

    week: date
    row: Mapping[str, Any]
    reasons: Sequence[str]
    invalid: frozenset[str] = frozenset()
    is_new: bool = False


def note_withdrawn(session: Session, state: RefreshState) -> None:
    """Note which of the rows that were deleted are withdrawn, and what is wrong with them.

    Rows are looked for where the table's own are kept back: in quarantine; of the tables that
    BigQuery aggregates, only BigQuery can tell.
    """
    deleted = {period: result.deleted for period, result in state.loaded.items() if result.deleted}
    if not deleted:
        return
    if state.table.origin is Origin.SOURCE_AGGREGATE:
        bad_rows = _in_source(state, list(deleted))
    else:
        bad_rows = _in_quarantine(session, state.table, list(deleted))
    for period, keys in deleted.items():
        of_period = [row for row in bad_rows if period.start <= row.week <= period.end]
        reasons = _reasons(state.table, keys, of_period)
        state.loaded[period] = replace(
            state.loaded[period],
            withdrawn=len(reasons),
            withdrawn_for=Counter(reason for of_row in reasons for reason in sorted(of_row)),
        )


def count_broken_rules(state: RefreshState, weeks: Sequence[Period]) -> dict[date, Counter[str]]:
    """Count the rows of weeks that break each rule, by the first day of the week.

    It is for a table that BigQuery aggregates, of whose bad rows the sums tell only how many they
    are.
    """
    broken: dict[date, Counter[str]] = defaultdict(Counter)
    for bad in _in_source(state, weeks):
        broken[bad.week].update(bad.reasons)
    return broken


def _reasons(
    table: Table, keys: Iterable[tuple[Any, ...]], bad_rows: Sequence[BadRow]
) -> list[set[str]]:
    """Return what is wrong with the rows of each of these keys that has bad rows."""
    if not bad_rows:
        return []
    # A source without marketplaces has none in its rows, and one in the table.
    names = tuple(name for name in table.group_key if name in bad_rows[0].row)
    broken: dict[tuple[str, ...], set[str]] = {}
    for bad in bad_rows:
        broken.setdefault(_key(table, names, bad.row), set()).update(bad.reasons)
    lost = [dict(zip(table.group_key, key, strict=True)) for key in keys]
    by_key = [broken.get(_key(table, names, row)) for row in lost]
    others = [row for row, reasons in zip(lost, by_key, strict=True) if reasons is None]
    return [*filter(None, by_key), *_reasons_by_rest(table, names, others, bad_rows)]


def _reasons_by_rest(
    table: Table,
    names: Sequence[str],
    lost: Iterable[Mapping[str, Any]],
    bad_rows: Iterable[BadRow],
) -> Iterator[set[str]]:
    """Return what is wrong with lost rows whose key itself turned bad: the rest of it tells.

    Each row that turned bad stands for one that was lost, and at least two columns have to agree.
    """
    by_rest: dict[tuple[str, ...], list[BadRow]] = defaultdict(list)
    for bad in bad_rows:
        rest = tuple(name for name in names if name not in bad.invalid)
        if bad.is_new and 1 < len(rest) < len(names):
            by_rest[rest].append(bad)
    left = list(lost)
    # What tells more of the lost rows apart finds its own.
    for rest in sorted(by_rest, key=lambda rest: -len({_key(table, rest, row) for row in left})):
        turned: dict[tuple[str, ...], list[BadRow]] = defaultdict(list)
        for bad in by_rest[rest]:
            turned[_key(table, rest, bad.row)].append(bad)
        for row in list(left):
            if same := turned[_key(table, rest, row)]:
                yield set(same.pop().reasons)
                left.remove(row)


def _key(table: Table, names: Sequence[str], row: Mapping[str, Any]) -> tuple[str, ...]:
    types = {column.name: column.type for column in table.key}
    # A date may have come with a time of day.
    return tuple(str(row[name])[: 10 if types[name] == DATE else None] for name in names)


def _in_quarantine(session: Session, table: Table, periods: Collection[Period]) -> list[BadRow]:
    """Read the bad rows of a table's periods, or of the rows that it is derived from."""
    filled = SEARCH_QUERY_PERFORMANCE if table.source is None else table
    assert filled.source, "only rows of a source are in quarantine"
    with session.transaction():
        waiting = quarantine.read_waiting(session, filled, periods)
    return [_bad_row(filled.source, row) for row in waiting]


def _bad_row(spec: SourceSpec, waiting: WaitingRow) -> BadRow:
    invalid = frozenset(
        column.name
        for column in spec.columns
        for reason in waiting.reasons
        if reason.startswith((f"{column.title} is ", f"{column.title} holds "))
    )
    row = _named(spec, waiting.row)
    return BadRow(waiting.week, row, waiting.reasons, invalid, waiting.is_new)


def _named(spec: SourceSpec, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the source sent it by our names, without the columns that it did not have."""
    sent = {title.lower(): value for title, value in raw.items()}
    row = {
        column.name: sent[column.title.lower()]
        for column in spec.columns
        if column.title.lower() in sent
    }
    if spec.is_vendor_report:
        row["asin"] = sent.get(CHILD_ASIN_TITLE.lower()) or sent.get(PARENT_ASIN_TITLE.lower())
    return row


def _in_source(state: RefreshState, weeks: Iterable[Period]) -> list[BadRow]:
    """Read the bad rows of weeks of a table that BigQuery aggregates."""
    source, decisions = state.source, state.plan.decisions
    broken = [
        week
        for week in weeks
        if isinstance(version := decisions[week].version, SourceVersion) and version.rejected
    ]
    if not broken or not isinstance(source, BigQuerySource) or source.table.source is None:
        return []
    with_reasons = (_with_reasons(source.table.source, batch) for batch in source.read_bad(broken))
    return [row for rows in with_reasons for row in rows]


def _with_reasons(spec: SourceSpec, batch: "pa.RecordBatch") -> Iterator[BadRow]:
    # Pandera takes a while to import, and hardly a night needs it here.
    from sqp_refresh.validate.pandera_model import model_of

    reasons = model_of(spec).reasons(batch)
    names = [name for name in batch.schema.names if name in {*spec.key, "report_date", WEEK}]
    rows = batch.select([*names, READABLE]).to_pylist()
    for place, row in enumerate(rows):
        unreadable = [] if row.pop(READABLE) else [UNREADABLE]
        yield BadRow(row.pop(WEEK), row, [*unreadable, *reasons.get(place, ())])
