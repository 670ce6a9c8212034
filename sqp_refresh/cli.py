"""The `sqp-refresh` command: what an operator does without opening the Dagster UI.

Exit status 0 when everything asked for was done, 1 when something failed, 2 for bad usage.
"""

import sys
import uuid
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sqp_refresh.errors import RefreshError, SettingsError
from sqp_refresh.settings import Settings
from sqp_refresh.tables import TABLES
from sqp_refresh.weeks import Period, finished_weeks, weeks_between

app = typer.Typer(
    help="The nightly refresh of Search Query Performance data, from BigQuery into Postgres.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


def main() -> None:
    """Entry point of the console script: an expected error is one line, never a traceback."""
    try:
        app()
    except RefreshError as error:
        typer.secho(f"sqp-refresh: {error}", err=True, fg=typer.colors.RED)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.secho("sqp-refresh: interrupted", err=True, fg=typer.colors.RED)
        sys.exit(130)


@app.command()
def migrate(
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL for an empty database instead.")
    ] = False,
) -> None:
    """Create or bring up to date the tables in schema sqp; run again, it does nothing."""
    from sqp_refresh import migrate as migrations

    if sql:
        typer.echo(migrations.as_sql())
        return
    applied = migrations.upgrade(Settings.read().database_url)
    typer.echo(f"applied {', '.join(applied)}" if applied else "nothing to do")


@app.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="Revision to go back to.")] = "base",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Take migrations back, and the rows in their tables with them; to `base`, nothing is left."""
    from sqp_refresh import migrate as migrations

    database_url = Settings.read().database_url
    if not yes:
        typer.confirm("This deletes tables in schema sqp and the rows in them. Go on?", abort=True)
    removed = migrations.downgrade(database_url, revision)
    typer.echo(f"removed {', '.join(removed)}" if removed else "nothing to do")


@app.command()
def refresh(
    table: Annotated[
        list[str] | None, typer.Option(help="Table to refresh, again for more; all by default.")
    ] = None,
    from_: Annotated[
        datetime | None,
        typer.Option("--from", formats=["%Y-%m-%d"], help="A day of the first week."),
    ] = None,
    to: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="A day of the last week.")
    ] = None,
) -> None:
    """Refresh tables now, through the job that the schedule runs; the look-back by default."""
    settings = Settings.read()
    weeks = _weeks(settings, from_.date() if from_ else None, to.date() if to else None)
    _refresh(settings, weeks, _known(table or []))


def _refresh(settings: Settings, weeks: list[Period], tables: list[str]) -> None:
    from sqp_refresh.console import show_outcome, watched
    from sqp_refresh.migrate import require_current

    database_url = settings.database_url
    require_current(database_url)
    run_id = str(uuid.uuid4())
    with watched(console, database_url, run_id):
        # Dagster takes seconds to import, and only this needs it.
        from sqp_refresh.definitions import defs
        from sqp_refresh.defs.run import run_daily_refresh

        succeeded = run_daily_refresh(defs(), weeks, tables, run_id=run_id)
    changed = show_outcome(console, database_url, run_id)
    console.print(f"{changed:,} rows changed in weeks {weeks[0]} to {weeks[-1]}")
    if not succeeded:
        raise typer.Exit(1)


def _weeks(settings: Settings, first: date | None, last: date | None) -> list[Period]:
    finished = finished_weeks(settings.REFRESH_START_DATE, datetime.now(UTC).date())
    if first is None and last is None:
        return finished[-settings.REFRESH_LOOKBACK_WEEKS :]
    wanted = list(weeks_between(first or settings.REFRESH_START_DATE, last or finished[-1].end))
    if not wanted or wanted[0] not in finished or wanted[-1] not in finished:
        raise SettingsError(
            f"weeks from {first} to {last} are not all between {finished[0]} and {finished[-1]}; "
            "choose finished weeks, or set REFRESH_START_DATE"
        )
    return wanted


def _known(names: list[str]) -> list[str]:
    for name in names:
        if name not in TABLES:
            raise SettingsError(f"there is no table {name!r}; choose from {', '.join(TABLES)}")
    return names


@app.command()
def demo(
    directory: Annotated[
        Path, typer.Option("--dir", help="Where the demo keeps its servers' data.")
    ] = Path(".demo"),
    ui: Annotated[
        bool, typer.Option("--ui", help="Serve the Dagster UI on loopback with the demo's data.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
) -> None:
    """Refresh a realistic year with a BigQuery and a Postgres of the demo's own."""
    from sqp_refresh.demo.stage import serve_ui, staged, weeks_of_demo

    with staged(console, directory) as settings:
        if ui:
            serve_ui(console, directory, port)
            return
        _refresh(settings, weeks_of_demo(), [])
        console.print("To look at it in the Dagster UI: [bold]make ui[/], or sqp-refresh demo --ui")
