"""Define the commands that show the state of the refreshes, their history, and their problems."""

import json as json_format
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from sqp_refresh.cli.common import Json, console, load_settings
from sqp_refresh.cli.console import STYLES, grid_of
from sqp_refresh.errors import SettingsError
from sqp_refresh.monitoring.orchestrator import Orchestrator
from sqp_refresh.monitoring.status.status_model import QUESTIONS, Severity, Status
from sqp_refresh.monitoring.views import TableFreshness
from sqp_refresh.schema_name import SCHEMA
from sqp_refresh.settings import Settings

_ANSWERS = {True: ("yes", "green"), False: ("no", "red"), None: ("?", "red")}
_COUNTS = ("rows_processed", "rows_inserted", "rows_updated", "rows_deleted", "rows_quarantined")


def status(json: Json = False) -> None:
    """Answer the deployment guide's success criteria, and show what is wrong and what to do.

    Exit status 0: all is well; 1: there is something to look at, or there are not seven nights yet;
    2: something failed, is overdue or dead, or cannot be told.
    """
    from sqp_refresh.monitoring.status.report import report_status

    settings = Settings.read()
    if json:
        report = report_status(settings, _orchestrator())
        typer.echo(json_format.dumps(report.as_json(), indent=2, default=str))
    else:
        with console.status("asking Postgres and Dagster ..."):
            report = report_status(settings, _orchestrator())
        _show(report)
    if report.exit_status:
        raise typer.Exit(report.exit_status)


def history(
    table: Annotated[str, typer.Argument(help=f"Table of schema {SCHEMA}.")],
    limit: Annotated[int, typer.Option(help="How many runs.", min=1)] = 20,
    json: Json = False,
) -> None:
    """Show a table's last runs, the latest first: what each did, and its message."""
    from sqp_refresh.monitoring.views import read_freshness, read_history
    from sqp_refresh.postgres.session import connect

    settings = load_settings()
    with connect(settings.database_url) as session:
        tables = [row.table_name for row in read_freshness(session)]
        runs = read_history(session, table, limit)
    if not runs and table not in tables:
        raise SettingsError(f"there is no table {table!r}; choose from {', '.join(tables)}")
    if json:
        typer.echo(json_format.dumps(runs, indent=2, default=str))
    else:
        _show_runs(runs)


def doctor(json: Json = False) -> None:
    """Look for what would make a refresh fail.

    Exit status 0: there is nothing; 1: there is something; 2: it cannot be told, because a server
    does not answer.
    """
    from sqp_refresh.monitoring.doctor.checkup import run_checkup

    diagnoses = run_checkup(_orchestrator())
    if json:
        typer.echo(json_format.dumps([diagnosis.as_json() for diagnosis in diagnoses], indent=2))
    else:
        for diagnosis in diagnoses:
            mark, style = ("ok", "green") if diagnosis.is_ok else ("!!", "red")
            line = f"{mark}  {diagnosis.subject}: {diagnosis.message}"
            console.print(line, style=style, markup=False, soft_wrap=True)
    if not all(diagnosis.is_ok for diagnosis in diagnoses):
        raise typer.Exit(1 if all(diagnosis.is_answered for diagnosis in diagnoses) else 2)


def _orchestrator() -> Orchestrator:
    # Dagster takes seconds to import.
    from sqp_refresh.definitions import defs
    from sqp_refresh.defs.dagster_orchestrator import DagsterOrchestrator

    return DagsterOrchestrator(defs)


def _show(report: Status) -> None:
    shown: set[str] = set()
    for criterion in report.criteria:
        answer, style = _ANSWERS[criterion.is_met]
        has_message = criterion.message and criterion.is_met is not None
        message = f": {criterion.message}" if has_message else ""
        console.print(
            f"[{style}]{answer:<3}[/]  {QUESTIONS[criterion.name]}{message}",
            soft_wrap=True,
            highlight=False,
        )
        for problem in criterion.problems:
            style = "yellow" if problem.severity is Severity.LOOK else "red"
            # What keeps several questions from being answered is said once.
            message = "for the same reason" if problem.message in shown else problem.message
            console.print(f"     {message}", style=style, markup=False, soft_wrap=True)
            shown.add(problem.message)
    if report.tables:
        console.print()
        _show_tables(report.tables)


def _show_tables(tables: Sequence[TableFreshness]) -> None:
    grid = grid_of("table", "newest", "days", "rows", "last refresh", "next refresh")
    for table in tables:
        style = STYLES.get(table.last_status or "", "yellow") if table.is_enabled else "dim"
        grid.add_row(
            f"[{style}]{table.table_name}[/]",
            str(table.newest_period_start or "-"),
            "-" if table.days_behind is None else str(table.days_behind),
            f"{table.row_count:,}",
            _minute(table.last_refresh_at),
            _minute(table.next_refresh_at) if table.is_enabled else "disabled",
        )
    console.print(grid)
    console.print("days since the newest week or period ended; times in UTC", style="dim")


def _show_runs(runs: Sequence[Mapping[str, Any]]) -> None:
    if not runs:
        console.print("no run in the last 90 days")
        return
    grid = grid_of("UTC", "status", "by", "weeks", "read", "ins", "upd", "del", "bad", "secs")
    for run in runs:
        counts = ("-" if run[name] is None else f"{run[name]:,}" for name in _COUNTS)
        seconds = (
            "-" if run["execution_time_ms"] is None else f"{run['execution_time_ms'] / 1000:.1f}"
        )
        grid.add_row(
            _minute(run["started_at"]),
            f"[{STYLES[run['status']]}]{run['status']}[/]",
            f"re-run {run['rerun']}" if run["rerun"] else run["launched_by"] or "-",
            _weeks(run),
            *counts,
            seconds,
        )
    console.print(grid)
    for run in runs:
        if run["error_message"]:
            line = f"{_minute(run['started_at'])} {run['status']}: {run['error_message']}"
            console.print(line, markup=False, soft_wrap=True)


def _weeks(run: Mapping[str, Any]) -> str:
    copied, skipped = run["weeks_copied"] or 0, run["weeks_skipped"] or 0
    rejected = f", {run['weeks_rejected']} rejected" if run["weeks_rejected"] else ""
    return f"{copied}/{copied + skipped}{rejected}"


def _minute(instant: Any) -> str:  # noqa: ANN401, a column that may be null
    return f"{instant:%m-%d %H:%M}" if instant else "-"
