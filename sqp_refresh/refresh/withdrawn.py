"""Tell withdrawn rows apart: rows that were deleted because their source broke the contract.

A row that vanished and a row that turned bad are both deleted, which keeps the tables consistent
with each other. Of the second kind the source still has the rows, and something is wrong with them.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

from sqp_refresh.control import quarantine
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

BadRow = tuple[date, Mapping[str, Any], Sequence[str]]
"""First day of a row's week, its values by our names, and what is wrong with it."""


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
        of_period = [row for row in bad_rows if period.start <= row[0] <= period.end]
        reasons = _reasons(state.table, keys, of_period)
        state.loaded[period] = replace(
            state.loaded[period],
            withdrawn=len(reasons),
            withdrawn_for=Counter(reason for of_row in reasons for reason in sorted(of_row)),
        )


def _reasons(
    table: Table, keys: Iterable[tuple[Any, ...]], bad_rows: Iterable[BadRow]
) -> list[set[str]]:
    """Return what is wrong with the rows of each of these keys that has bad rows."""
    broken: dict[tuple[str, ...], set[str]] = {}
    compared: Sequence[str] = ()
    for _, row, reasons in bad_rows:
        # A source without marketplaces has none in its rows, and one in the table.
        compared = [name for name in table.group_key if name in row]
        broken.setdefault(_key(table, compared, row), set()).update(reasons)
    rows = (dict(zip(table.group_key, key, strict=True)) for key in keys)
    lost = (_key(table, compared, row) for row in rows)
    return [broken[key] for key in lost if key in broken]


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
    return [(week, _named(filled.source, raw), reasons) for week, raw, reasons in waiting]


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
        yield row.pop(WEEK), row, [*unreadable, *reasons.get(place, ())]
