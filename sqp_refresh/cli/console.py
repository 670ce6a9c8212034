"""What a person at a terminal sees of a refresh: progress while it works, a table when it is done.

Both are read from the control tables, as anybody else could.
"""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import sql
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from sqp_refresh.errors import RefreshError
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.refresh.dry_run import PlannedPeriod

POLL_S = 0.5

_PROGRESS = sql.SQL("""
SELECT table_name, jsonb_array_length(checkpoint_data->'periods'),
       jsonb_array_length(checkpoint_data->'published'), last_processed_row
FROM sqp.refresh_checkpoints
WHERE checkpoint_data->>'run_id' = ANY({})
ORDER BY id
""")
_OUTCOME = sql.SQL("""
SELECT table_name, status, jsonb_array_length(sync_metadata->'weeks'),
       jsonb_array_length(sync_metadata->'skipped'), rows_processed, rows_inserted, rows_updated,
       rows_deleted, (sync_metadata->>'unchanged')::bigint, execution_time_ms, error_message
FROM sqp.refresh_audit_log
WHERE sync_metadata->>'run_id' = ANY({})
ORDER BY id
""")
CHANGES = ("inserted", "updated", "deleted")
STYLES = {"success": "green", "warning": "yellow", "failed": "red", "running": "yellow"}


@contextmanager
def watched(console: Console, database_url: str, run_ids: Sequence[str]) -> Iterator[None]:
    """Show how far each table of these runs has got, until the block ends."""
    done = threading.Event()
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rows]:>9,} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        watcher = threading.Thread(target=_watch, args=(progress, database_url, run_ids, done))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _watch(
    progress: Progress, database_url: str, run_ids: Sequence[str], done: threading.Event
) -> None:
    bars: dict[str, Any] = {}
    try:
        with connect(database_url) as session:
            while not done.wait(POLL_S):
                _show(progress, bars, session, run_ids)
            _show(progress, bars, session, run_ids)
    except RefreshError as error:
        # The refresh itself reports what is wrong with the database; only the view of it ends.
        progress.console.print(f"progress is no longer shown: {error}", style="yellow")


def _show(
    progress: Progress, bars: dict[str, Any], session: Session, run_ids: Sequence[str]
) -> None:
    for table, periods, published, rows in session.rows(_PROGRESS.format(_array(run_ids))):
        if not periods:
            continue
        if table not in bars:
            bars[table] = progress.add_task(table, total=periods, rows=0)
        progress.update(bars[table], completed=published, rows=rows)
    session.rollback()


def show_outcome(
    console: Console,
    database_url: str,
    run_ids: Sequence[str],
    asked: Sequence[str],
    failures: Mapping[str, str],
) -> int:
    """Print what runs did to each table; returns the rows they changed in all.

    Args:
        console: Where to print.
        database_url: Where the audit log is.
        run_ids: The runs.
        asked: The tables that they were launched for.
        failures: What was said of each step that failed; shown where no audit row says it.
    """
    outcome = _outcome(database_url, run_ids)
    grid = grid_of("table", "copied", "rows", *CHANGES, "same", "secs")
    for one in outcome:
        counts = (one[name] for name in ("rows", *CHANGES, "unchanged"))
        copied = f"{one['copied'] or 0}/{(one['copied'] or 0) + (one['skipped'] or 0)}"
        seconds = f"{(one['milliseconds'] or 0) / 1000:.1f}"
        table = f"[{STYLES[one['status']]}]{one['table']}[/]"
        grid.add_row(table, copied, *map(_number, counts), seconds)
    console.print(grid)
    for one in outcome:
        if one["status"] != "success":
            message = one["message"] or "its run ended without a word"
            said = f"{one['table']} {one['status']}: {message}"
            console.print(said, style=STYLES[one["status"]], markup=False, soft_wrap=True)
    logged = [one["table"] for one in outcome]
    for table in asked:
        if table not in logged:
            why = "a table that it needs was not"
            why = next((said for step, said in failures.items() if step.endswith(table)), why)
            console.print(f"{table} not refreshed: {why}", style="red", markup=False)
    return sum(one[name] or 0 for one in outcome for name in CHANGES)


def outcome_as_json(database_url: str, run_ids: Sequence[str]) -> str:
    """What runs did to each table, for programs."""
    outcome = _outcome(database_url, run_ids)
    return json.dumps({"run_ids": list(run_ids), "tables": outcome}, indent=2)


def show_plan(console: Console, planned: Sequence[PlannedPeriod]) -> None:
    """Print what would be done: each period that would be copied, and the others in one line."""
    grid = grid_of("table", "period", "rows", "bytes", "why")
    for table in dict.fromkeys(one.table for one in planned):
        left = [one for one in planned if one.table == table and not one.reason.loads]
        for one in planned:
            if one.table == table and one.reason.loads:
                why = f"[yellow]{one.reason}[/]"
                grid.add_row(table, str(one.period), _number(one.rows), _number(one.bytes), why)
        if left:
            rows = sum(one.rows or 0 for one in left)
            said = f"[green]{len(left)} left as they are[/]"
            grid.add_row(table, "", _number(rows), "", said)
    console.print(grid)
    copied = sum(one.reason.loads for one in planned)
    console.print(f"{copied:,} of {len(planned):,} periods would be copied; nothing was written")


def plan_as_json(planned: Sequence[PlannedPeriod]) -> str:
    """What would be done, for programs."""
    return json.dumps(
        [
            {
                "table": one.table,
                "period": str(one.period),
                "copy": one.reason.loads,
                "reason": one.reason,
                "rows": one.rows,
                "bytes": one.bytes,
            }
            for one in planned
        ],
        indent=2,
    )


def _outcome(database_url: str, run_ids: Sequence[str]) -> list[dict[str, Any]]:
    names = ("table", "status", "copied", "skipped", "rows", *CHANGES)
    names += ("unchanged", "milliseconds", "message")
    with connect(database_url) as session:
        rows = session.rows(_OUTCOME.format(_array(run_ids)))
    return [dict(zip(names, row, strict=True)) for row in rows]


def grid_of(first: str, *others: str) -> Grid:
    """An empty table without lines, by the titles of its columns."""
    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column(first, no_wrap=True)
    for name in others:
        # Prose wraps, so that a narrow terminal cuts no number, and no day, off.
        is_prose = name in ("why", "what is wrong")
        is_text = is_prose or name in ("period", "week")
        grid.add_column(name, justify="left" if is_text else "right", no_wrap=not is_prose)
    return grid


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _array(values: Sequence[str]) -> sql.Composed:
    return sql.SQL("{}::text[]").format(sql.Literal(list(values)))
