"""Show a refresh at a terminal: progress while it runs, and a table when it is done.

Both are read from the control tables.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from psycopg.rows import class_row
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table as Grid

from sqp_refresh.errors import RefreshError
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.dry_run import PlannedPeriod
from sqp_refresh.schema_name import in_schema

POLL_S = 0.5

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


@contextmanager
def show_progress(console: Console, database_url: str, run_ids: Sequence[str]) -> Iterator[None]:
    """Show the progress of each table of these runs until the block ends."""
    stop = threading.Event()
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
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
    outcomes = _read_outcomes(database_url, run_ids)
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
    tables = [asdict(outcome) for outcome in _read_outcomes(database_url, run_ids)]
    outcome = {"run_ids": list(run_ids), "tables": tables, "failures": dict(failures)}
    return json.dumps(outcome, indent=2)


def _read_outcomes(database_url: str, run_ids: Sequence[str]) -> list[TableOutcome]:
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
    unchanged = [period for period in periods if not period.reason.loads and not period.note]
    for period in periods:
        if period.reason.loads or period.note:
            note = f": {escape(period.note)}" if period.note else ""
            why = f"[yellow]{period.reason}{note}[/]"
            rows, size = _number(period.rows), _number(period.bytes)
            grid.add_row(table, str(period.period), rows, size, why)
    if unchanged:
        rows = _number(sum(period.rows or 0 for period in unchanged))
        grid.add_row(table, "", rows, "", f"[green]{len(unchanged)} left as they are[/]")


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


def grid_of(first: str, *others: str) -> Grid:
    """Return an empty table without lines, with these titles of its columns."""
    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(first, no_wrap=True)
    for name in others:
        # Sentences wrap, so that a narrow terminal cuts off no number and no date.
        is_prose = name in ("why", "what is wrong")
        is_text = is_prose or name in ("period", "week")
        grid.add_column(name, justify="left" if is_text else "right", no_wrap=not is_prose)
    return grid


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"
