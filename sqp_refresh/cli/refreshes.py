"""Define the commands that refresh tables, or show what a refresh would do."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from sqp_refresh.cli.common import (
    Accept,
    EnabledTables,
    FirstDay,
    Force,
    Json,
    LastDay,
    SourceAsOf,
    console,
    enabled_tables,
    load_settings_and_catalog,
    requested_tables,
    run_refresh,
    weeks_to_refresh,
)
from sqp_refresh.extract.source import WantedInstant
from sqp_refresh.postgres.session import read_clock
from sqp_refresh.refresh.sources import require_instant
from sqp_refresh.registry.catalog import Catalog, read_catalog
from sqp_refresh.settings import Settings


def refresh(
    table: EnabledTables = None,
    first: FirstDay = None,
    last: LastDay = None,
    force: Force = False,
    accept: Accept = False,
    source_as_of: SourceAsOf = None,
    json: Json = False,
) -> None:
    """Refresh tables now, through the job that the schedule runs; the look-back by default."""
    instant = None if source_as_of is None else WantedInstant.parse(source_as_of)
    settings, catalog = load_settings_and_catalog()
    weeks = weeks_to_refresh(settings, catalog, table, first, last, force=force)
    tables = table or []
    if instant:
        _require_instant(settings, catalog, tables, instant)
    is_good = run_refresh(
        settings, catalog, weeks, tables, force, json, accept=accept, source_as_of=instant
    )
    if instant and not json:
        console.print("`sqp-refresh status` names the weeks that are pinned now")
    if not is_good:
        raise typer.Exit(1)


def _require_instant(
    settings: Settings, catalog: Catalog, tables: Sequence[str], instant: WantedInstant
) -> None:
    names = requested_tables(catalog, tables, enabled_tables(settings, catalog))
    require_instant(settings, map(catalog.table, names), instant)


def plan(
    table: EnabledTables = None,
    first: FirstDay = None,
    last: LastDay = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show which weeks a refresh would copy, why, and how much it would read; write nothing."""
    from sqp_refresh.cli.console import plan_as_json, show_plan
    from sqp_refresh.refresh import dry_run

    settings, catalog = load_settings_and_catalog()
    tables = requested_tables(catalog, table or [], enabled_tables(settings, catalog))
    weeks = weeks_to_refresh(settings, catalog, table, first, last, force=force)
    planned: list[dry_run.PlannedPeriod] = []
    try:
        with console.status("comparing BigQuery with what was published ..."):
            for period in dry_run.plan(settings, catalog, tables, weeks, force=force):
                planned.append(period)  # noqa: PERF402, what came before an error is kept
    finally:
        # Of a table that cannot be planned, the others' plan is shown first.
        if json:
            typer.echo(plan_as_json(planned))
        elif planned:
            show_plan(console, planned)


def demo(
    directory: Annotated[
        Path, typer.Option("--dir", help="Directory for the data of the demo's servers.")
    ] = Path(".demo"),
    ui: Annotated[
        bool, typer.Option("--ui", help="Serve the Dagster UI on loopback with the demo's data.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
) -> None:
    """Refresh a realistic year, with a BigQuery and a Postgres that the demo starts itself."""
    from sqp_refresh.demo.environment import demo_environment, serve_ui, weeks_of_demo
    from sqp_refresh.monitoring.dashboard.drawing import draw

    with demo_environment(console, directory) as settings:
        if ui:
            serve_ui(console, directory, port)
            return
        catalog = read_catalog(settings)
        if not run_refresh(settings, catalog, weeks_of_demo(), [], force=False, json=False):
            raise typer.Exit(1)
        path = settings.dashboard_path
        with console.status("drawing the dashboard ..."):
            draw(settings.database_url, path, read_clock(settings.database_url))
        ui_command = "[bold]make ui[/], which is [bold]sqp-refresh demo --ui[/]"
        console.print(
            f"To look at it: {path}, or in the Dagster UI by {ui_command}", soft_wrap=True
        )
