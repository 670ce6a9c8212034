"""What a person at a terminal sees of a refresh: progress while it works, a table when it is done.

Both are read from the control tables, as anybody else could.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from psycopg import sql
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as Grid

from sqp_refresh.errors import RefreshError
from sqp_refresh.postgres import Session, connect

POLL_S = 0.5

_PROGRESS = sql.SQL("""
SELECT table_name, (checkpoint_data->>'periods')::integer,
       (checkpoint_data->>'published')::integer, last_processed_row
FROM sqp.refresh_checkpoints
WHERE checkpoint_data->>'run_id' = {}
ORDER BY id
""")
_OUTCOME = sql.SQL("""
SELECT table_name, status, rows_processed, rows_inserted, rows_updated, rows_deleted,
       (sync_metadata->>'unchanged')::bigint, execution_time_ms, error_message
FROM sqp.refresh_audit_log
WHERE sync_metadata->>'run_id' = {}
ORDER BY id
""")
_STYLE = {"success": "green", "warning": "yellow", "failed": "red", "running": "yellow"}


@contextmanager
def watched(console: Console, database_url: str, run_id: str) -> Iterator[None]:
    """Show how far each table of a run has got, until the block ends."""
    done = threading.Event()
    columns = (
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rows]:>9,} rows"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        watcher = threading.Thread(target=_watch, args=(progress, database_url, run_id, done))
        watcher.start()
        try:
            yield
        finally:
            done.set()
            watcher.join()


def _watch(progress: Progress, database_url: str, run_id: str, done: threading.Event) -> None:
    bars: dict[str, Any] = {}
    try:
        with connect(database_url) as session:
            while not done.wait(POLL_S):
                _show(progress, bars, session, run_id)
            _show(progress, bars, session, run_id)
    except RefreshError as error:
        # The refresh itself reports what is wrong with the database; only the view of it ends.
        progress.console.print(f"progress is no longer shown: {error}", style="yellow")


def _show(progress: Progress, bars: dict[str, Any], session: Session, run_id: str) -> None:
    for table, periods, published, rows in session.rows(_PROGRESS.format(sql.Literal(run_id))):
        if table not in bars:
            bars[table] = progress.add_task(table, total=periods, rows=0)
        progress.update(bars[table], completed=published, rows=rows)
    session.rollback()


def show_outcome(console: Console, database_url: str, run_id: str) -> int:
    """Print what a run did to each table; returns the rows it changed in all."""
    with connect(database_url) as session:
        outcome = session.rows(_OUTCOME.format(sql.Literal(run_id)))
    grid = Grid(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    grid.add_column("table", no_wrap=True)
    for name in ("rows", "inserted", "updated", "deleted", "unchanged", "seconds"):
        grid.add_column(name, justify="right", no_wrap=True)
    for table, status, *counts, milliseconds, _ in outcome:
        numbers = [f"{count:,}" if count is not None else "-" for count in counts]
        seconds = f"{(milliseconds or 0) / 1000:.1f}"
        grid.add_row(f"[{_STYLE[status]}]{table}[/]", *numbers, seconds)
    console.print(grid)
    for table, status, *_, message in outcome:
        if status != "success":
            said = f"{table} {status}: {message or 'its run ended without a word'}"
            console.print(said, style=_STYLE[status], markup=False, soft_wrap=True)
    return sum(sum(filter(None, row[3:6])) for row in outcome)
