"""Commands that refresh tables, or say what a refresh would do."""

import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sqp_refresh.errors import SettingsError
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.model.periods import Period, finished_weeks, weeks_between
from sqp_refresh.refresh.sources import prefetch_versions
from sqp_refresh.registry.catalog import Catalog, read_catalog
from sqp_refresh.settings import Settings

console = Console()

Tables = Annotated[
    list[str] | None,
    typer.Option("--table", help="Table to refresh, again for more; every enabled one by default."),
]
From = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="A day of the first week."),
]
To = Annotated[
    datetime | None, typer.Option("--to", formats=["%Y-%m-%d"], help="A day of the last week.")
]
Force = Annotated[bool, typer.Option("--force", help="Copy also what has not changed.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def refresh(
    table: Tables = None,
    first: From = None,
    last: To = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Refresh tables now, through the job that the schedule runs; the look-back by default."""
    settings, catalog = ready()
    weeks = weeks_asked(settings, first, last)
    if not run_refresh(settings, catalog, weeks, table or [], force, json):
        raise typer.Exit(1)


def plan(
    table: Tables = None,
    first: From = None,
    last: To = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Say which weeks a refresh would copy, why, and what that would read; write nothing."""
    from sqp_refresh.cli.console import plan_as_json, show_plan
    from sqp_refresh.refresh.dry_run import plan as planned

    settings, catalog = ready()
    names = _wanted(catalog, table or [], enabled_tables(settings, catalog))
    found = planned(settings, catalog, names, weeks_asked(settings, first, last), force=force)
    if json:
        typer.echo(plan_as_json(list(found)))
        return
    with console.status("comparing BigQuery with what was published ..."):
        everything = list(found)
    show_plan(console, everything)


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
    from sqp_refresh.demo.environment import serve_ui, staged, weeks_of_demo
    from sqp_refresh.monitoring.dashboard.drawing import draw

    with staged(console, directory) as settings:
        if ui:
            serve_ui(console, directory, port)
            return
        catalog = read_catalog(settings)
        if not run_refresh(settings, catalog, weeks_of_demo(), [], force=False, json=False):
            raise typer.Exit(1)
        drawn = settings.dashboard_path
        with console.status("drawing the dashboard ..."):
            draw(settings.database_url, drawn, datetime.now(UTC))
        ui_command = "[bold]make ui[/], which is [bold]sqp-refresh demo --ui[/]"
        console.print(
            f"To look at it: {drawn}, or in the Dagster UI by {ui_command}", soft_wrap=True
        )


def ready() -> tuple[Settings, Catalog]:
    """The switches and the tables, where there is a migrated database."""
    from sqp_refresh.postgres.migrate import require_current

    settings = Settings.read()
    require_current(settings.database_url)
    return settings, read_catalog(settings)


def run_refresh(
    settings: Settings,
    catalog: Catalog,
    weeks: Sequence[Period],
    tables: Sequence[str],
    force: bool,
    json: bool,
) -> bool:
    """Refresh through the job that the schedule runs, show what that did, and say if all is well.

    Args:
        settings: Where the servers are.
        catalog: The tables that there are.
        weeks: The first and the last of them bound the range.
        tables: Names of the tables to refresh; none is every one that is enabled.
        force: Copy also what has not changed.
        json: Show JSON, for programs.
    """
    from sqp_refresh.cli.console import outcome_as_json, show_outcome, watched

    instant, enabled = datetime.now(UTC), enabled_tables(settings, catalog)
    names = _wanted(catalog, tables, enabled)
    database_url, run_ids = settings.database_url, [str(uuid.uuid4())]
    # Nobody watches a program's run.
    with nullcontext() if json else watched(console, database_url, run_ids):
        coming = [catalog.table(name) for name in names if name in enabled]
        prefetch_versions(settings, coming, weeks, instant, RunQueries())
        # Dagster takes seconds to import, and only this needs it.
        from sqp_refresh.definitions import defs
        from sqp_refresh.defs.in_process_run import run_daily_refresh

        failures = run_daily_refresh(
            defs(), settings, catalog, weeks, names, run_ids, instant=instant, force=force
        )
    if json:
        typer.echo(outcome_as_json(database_url, run_ids))
    else:
        changed = show_outcome(console, database_url, run_ids, names, failures)
        console.print(f"{changed:,} rows changed in weeks {weeks[0]} to {weeks[-1]}")
    return not failures


def _wanted(catalog: Catalog, tables: Sequence[str], enabled: list[str]) -> list[str]:
    if tables:
        return [catalog.table(name).name for name in tables]
    if not enabled:
        raise SettingsError("every table is disabled; `sqp-refresh enable --all` to refresh them")
    return enabled


def enabled_tables(settings: Settings, catalog: Catalog) -> list[str]:
    """The tables that may be refreshed, parents first."""
    from sqp_refresh.postgres.session import connect
    from sqp_refresh.registry import refresh_config

    with connect(settings.database_url) as session:
        known = refresh_config.registered(session)
    return [name for name in catalog.tables if name in known and known[name].is_enabled]


def weeks_asked(settings: Settings, first: datetime | None, last: datetime | None) -> list[Period]:
    """The weeks between two days; the look-back where neither is given.

    Raises:
        SettingsError: not all of them are finished weeks since REFRESH_START_DATE.
    """
    finished = finished_weeks(settings.REFRESH_START_DATE, datetime.now(UTC).date())
    if first is None and last is None:
        return finished[-settings.REFRESH_LOOKBACK_WEEKS :]
    start: date = first.date() if first else settings.REFRESH_START_DATE
    end: date = last.date() if last else finished[-1].end
    wanted = list(weeks_between(start, end))
    if not wanted or wanted[0] not in finished or wanted[-1] not in finished:
        raise SettingsError(
            f"weeks from {start} to {end} are not all between {finished[0]} and {finished[-1]}; "
            "choose finished weeks, or set REFRESH_START_DATE"
        )
    return wanted
