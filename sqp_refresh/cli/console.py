"""Show a refresh at a terminal: progress while it runs, and a table when it is done.

Both are read from the control tables.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from psycopg.rows import class_row
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from sqp_refresh.errors import RefreshError
from sqp_refresh.ledger.decide import ReloadReason
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.dry_run import PlannedPeriod
from sqp_refresh.schema_name import in_schema

POLL_S = 0.5
_PROSE = ("why", "what is wrong")
"""Titles of columns that hold sentences, which wrap."""
_ROOM_FOR_BARS = 80
"""The least width at which progress has bars (characters)."""
_LEAST_PROSE = 24
"""How narrow such a column may become before the table is a list (characters)."""

_PROGRESS = in_schema("""
SELECT table_name AS "table", max(jsonb_array_length(checkpoint_data->'periods')) AS periods,
    sum(jsonb_array_length(checkpoint_data->'published')) AS published,
    sum(last_processed_row)::bigint AS rows
FROM sqp.refresh_checkpoints
WHERE checkpoint_data->>'run_id' = ANY(%(run_ids)s)
GROUP BY table_name
ORDER BY min(id)
""")
_OUTCOMES = in_schema("""
SELECT CASE WHEN sync_metadata ? 'materialized_view' THEN table_schema || '.' || table_name
        ELSE table_name END AS "table", status,
    jsonb_array_length(sync_metadata->'weeks') AS copied,
    jsonb_array_length(sync_metadata->'skipped') AS skipped,
    (SELECT count(*) FROM jsonb_object_keys(sync_metadata->'reasons')) AS periods,
    rows_processed AS rows,
    rows_inserted AS inserted, rows_updated AS updated, rows_deleted AS deleted,
    (sync_metadata->>'unchanged')::bigint AS unchanged, execution_time_ms AS milliseconds,
    error_message AS message
FROM sqp.refresh_audit_log
WHERE sync_metadata->>'run_id' = ANY(%(run_ids)s)
ORDER BY id
""")
STYLES = {"success": "green", "warning": "yellow", "failed": "red", "running": "yellow"}


@dataclass(frozen=True, slots=True)
class TableProgress:
    """How far the refresh of one table is, by its checkpoint.

    Attributes:
        table: Name of the table.
        periods: Number of periods to copy; None before that is decided.
        published: Number of periods that are published.
        rows: Number of rows read so far.
    """

    table: str
    periods: int | None
    published: int | None
    rows: int


@dataclass(frozen=True, slots=True)
class TableOutcome:
    """What one run did to one table, by its row in the audit log.

    Attributes:
        table: Name of the table.
        status: How the run ended, or "running".
        copied: Number of periods that were copied.
        skipped: Number of periods that had not changed.
        periods: Number of periods in all, those that were rejected or held back, too.
        rows: Number of rows read.
        inserted: Number of rows inserted.
        updated: Number of rows updated.
        deleted: Number of rows deleted.
        unchanged: Number of rows read that were the same in the table.
        milliseconds: Duration in ms.
        message: What went wrong, in one line.
    """

    table: str
    status: str
    copied: int | None
    skipped: int | None
    periods: int
    rows: int | None
    inserted: int | None
    updated: int | None
    deleted: int | None
    unchanged: int | None
    milliseconds: int | None
    message: str | None

    @property
    def changed(self) -> int:
        """Return the number of rows inserted, updated or deleted."""
        return (self.inserted or 0) + (self.updated or 0) + (self.deleted or 0)


class Grid(Table):
    """A table without lines, which becomes a list of its rows where the terminal is too narrow.

    Numbers and dates are never cut; sentences wrap, as long as they can still be read.
    """

    def __init__(self, *titles: str) -> None:
        super().__init__(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        self.lines: list[tuple[str, ...]] = []
        for number, title in enumerate(titles):
            is_text = number == 0 or title in (*_PROSE, "period", "week")
            justify = "left" if is_text else "right"
            self.add_column(title, justify=justify, no_wrap=title not in _PROSE)

    def add_row(
        self,
        *renderables: RenderableType | None,
        style: StyleType | None = None,
        end_section: bool = False,
    ) -> None:
        """Add a row of texts, which may have markup."""
        self.lines.append(tuple(str(cell or "") for cell in renderables))
        super().add_row(*renderables, style=style, end_section=end_section)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Render it as a table or as a list."""
        if self._least_width(console) <= options.max_width:
            yield from super().__rich_console__(console, options)
            return
        for first, *others in self.lines:
            yield console.render_str(first, highlight=False)
            yield from self._list(console, others, options.max_width)

    def _least_width(self, console: Console) -> int:
        titles = [str(column.header) for column in self.columns]
        widths = [len(title) for title in titles]
        for line in self.lines:
            widths = [
                max(width, min(console.render_str(cell).cell_len, _LEAST_PROSE))
                if title in _PROSE
                else max(width, console.render_str(cell).cell_len)
                for title, width, cell in zip(titles, widths, line, strict=True)
            ]
        return sum(widths) + len(widths) - 1

    def _list(self, console: Console, cells: Sequence[str], width: int) -> Iterator[RenderableType]:
        """Yield the cells behind the first one, with their titles, as many to a line as fit."""
        line = Text()
        for column, cell in zip(self.columns[1:], cells, strict=True):
            pair = Text(f"{column.header} ", style="dim") + console.render_str(cell)
            if line and (column.header in _PROSE or len(line) + len(pair) + 4 > width):
                yield Padding(line, (0, 0, 0, 2))
                line = Text()
            if cell:
                line = line + Text("  " if line else "") + pair
        if line:
            yield Padding(line, (0, 0, 0, 2))


def grid_of(*titles: str) -> Grid:
    """Return an empty grid with these titles of its columns."""
    return Grid(*titles)


@contextmanager
def show_progress(console: Console, database_url: str, run_ids: Sequence[str]) -> Iterator[None]:
    """Show the progress of each table of these runs until the block ends."""
    stop = threading.Event()
    columns = (
        TextColumn("{task.description:<26}"),
        *([BarColumn()] if console.width >= _ROOM_FOR_BARS else []),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rows]:>9,} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        watcher = threading.Thread(target=_watch, args=(progress, database_url, run_ids, stop))
        watcher.start()
        try:
            yield
        finally:
            stop.set()
            watcher.join()


def _watch(
    progress: Progress, database_url: str, run_ids: Sequence[str], stop: threading.Event
) -> None:
    bars: dict[str, TaskID] = {}
    try:
        with connect(database_url) as session:
            while not stop.wait(POLL_S):
                _update_bars(progress, bars, session, run_ids)
            _update_bars(progress, bars, session, run_ids)
    except RefreshError as error:
        # The refresh itself reports what is wrong with the database; only its progress is lost.
        progress.console.print(f"progress is no longer shown: {error}", style="yellow")


def _update_bars(
    progress: Progress, bars: dict[str, TaskID], session: Session, run_ids: Sequence[str]
) -> None:
    params = {"run_ids": list(run_ids)}
    for state in session.fetch_all(_PROGRESS, params, row_factory=class_row(TableProgress)):
        if not state.periods:
            continue
        if state.table not in bars:
            bars[state.table] = progress.add_task(state.table, total=state.periods, rows=0)
        progress.update(bars[state.table], completed=state.published, rows=state.rows)
    session.rollback()


def show_outcome(
    console: Console,
    database_url: str,
    run_ids: Sequence[str],
    tables: Sequence[str],
    failures: Mapping[str, str],
) -> int:
    """Print what runs did to each table, and return how many rows they changed.

    Args:
        console: Where to print.
        database_url: Where the audit log is.
        run_ids: The runs.
        tables: Names of the tables that the runs were to refresh.
        failures: The error of each failed step.
    """
    outcomes = read_outcomes(database_url, run_ids)
    console.print(_outcome_grid(outcomes))
    for outcome in outcomes:
        if outcome.status != "success":
            message = outcome.message or "its run ended without an error message"
            line = f"{outcome.table} {outcome.status}: {message}"
            console.print(line, style=STYLES[outcome.status], markup=False, soft_wrap=True)
    failed = {outcome.table for outcome in outcomes if outcome.status == "failed"}
    for table in _not_refreshed(tables, outcomes):
        reason = failures.get(_step_of(table), "a table that it depends on was not refreshed")
        line = f"{table} not refreshed: {reason}"
        console.print(line, style="red", markup=False, soft_wrap=True)
        failed.add(table)
    # What failed beside the refresh of a table, e.g. its checks, has no row in the audit log.
    for step, error in failures.items():
        if step not in map(_step_of, failed):
            line = f"{step or 'the run'} failed: {error}"
            console.print(line, style="red", markup=False, soft_wrap=True)
    return sum(outcome.changed for outcome in outcomes)


def _step_of(table: str) -> str:
    """Return the key of the step that refreshes a table."""
    return f"{SCHEMA}__{table}"


def _outcome_grid(outcomes: Sequence[TableOutcome]) -> Grid:
    titles = ("copied", "rows", "inserted", "updated", "deleted", "same", "secs")
    grid = grid_of("table", *titles)
    for outcome in outcomes:
        grid.add_row(
            f"[{STYLES[outcome.status]}]{outcome.table}[/]",
            f"{outcome.copied or 0}/{outcome.periods}",
            _number(outcome.rows),
            _number(outcome.inserted),
            _number(outcome.updated),
            _number(outcome.deleted),
            _number(outcome.unchanged),
            f"{(outcome.milliseconds or 0) / 1000:.1f}",
        )
    return grid


def _not_refreshed(tables: Sequence[str], outcomes: Sequence[TableOutcome]) -> list[str]:
    logged = {outcome.table for outcome in outcomes}
    return [table for table in tables if table not in logged]


def outcome_as_json(database_url: str, run_ids: Sequence[str], failures: Mapping[str, str]) -> str:
    """Return what runs did to each table, and the error of each failed step, as JSON."""
    tables = [asdict(outcome) for outcome in read_outcomes(database_url, run_ids)]
    outcome = {"run_ids": list(run_ids), "tables": tables, "failures": dict(failures)}
    return json.dumps(outcome, indent=2)


def read_outcomes(database_url: str, run_ids: Sequence[str]) -> list[TableOutcome]:
    """Read what runs did to each table, in the order in which they began."""
    params = {"run_ids": list(run_ids)}
    with connect(database_url) as session:
        return session.fetch_all(_OUTCOMES, params, row_factory=class_row(TableOutcome))


def show_plan(console: Console, planned: Sequence[PlannedPeriod]) -> None:
    """Print what would be done: a line for each period to copy, and one for all others."""
    grid = grid_of("table", "period", "rows", "bytes", "why")
    for table in dict.fromkeys(period.table for period in planned):
        periods = [period for period in planned if period.table == table]
        _add_plan_of_table(grid, table, periods)
    console.print(grid)
    copied = sum(period.reason.loads for period in planned)
    console.print(f"{copied:,} of {len(planned):,} periods would be copied; nothing was written")


def _add_plan_of_table(grid: Grid, table: str, periods: Sequence[PlannedPeriod]) -> None:
    left = [period for period in periods if not period.reason.loads and not period.note]
    empty = sum(period.reason is ReloadReason.NOTHING for period in left)
    for period in periods:
        if period.reason.loads or period.note:
            note = f": {escape(period.note)}" if period.note else ""
            why = f"[yellow]{period.reason}{note}[/]"
            rows, size = _number(period.rows), _number(period.bytes)
            grid.add_row(table, str(period.period), rows, size, why)
    if len(left) > empty:
        rows = sum(period.rows or 0 for period in left)
        why = f"[green]left as they are, with {rows:,} rows[/]"
        grid.add_row(table, _periods(len(left) - empty), "-", "-", why)
    if empty:
        grid.add_row(table, _periods(empty), "-", "-", f"[dim]{ReloadReason.NOTHING}[/]")


def _periods(count: int) -> str:
    return "1 period" if count == 1 else f"{count} periods"


def plan_as_json(planned: Sequence[PlannedPeriod]) -> str:
    """Return what would be done, as JSON for programs."""
    return json.dumps(
        [
            {
                "table": period.table,
                "period": str(period.period),
                "copy": period.reason.loads,
                "reason": period.reason,
                "rows": period.rows,
                "bytes": period.bytes,
                "note": period.note,
            }
            for period in planned
        ],
        indent=2,
    )


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
