"""Commands that judge what the tables hold, and look after the rows that reached none of them."""

import json as json_format
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from typing import Annotated, Any

import typer
from rich.console import Console

from sqp_refresh.cli.console import grid_of
from sqp_refresh.cli.refreshes import (
    From,
    Json,
    To,
    enabled_tables,
    ready,
    run_refresh,
    weeks_asked,
)
from sqp_refresh.control import quarantine
from sqp_refresh.errors import NotFound, Stopped
from sqp_refresh.model.periods import Grain, Period, finished_weeks, stretches
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

console = Console()

Tables = Annotated[
    list[str] | None, typer.Option("--table", help="A table, again for more; all by default.")
]
Waiting = Mapping[tuple[str, date], int]
"""Rows that wait in quarantine, by table and first day of their week."""

quarantine_app = typer.Typer(
    help="List, show and replay the rows that broke their contract.", no_args_is_help=True
)


def check(table: Tables = None, first: From = None, last: To = None, json: Json = False) -> None:
    """Judge what the tables hold, all of it by default; exit status 1 where something is wrong."""
    # Pandera takes a while to import.
    from sqp_refresh.checks.run_checks import run_checks

    settings, catalog = ready()
    weeks = weeks_asked(settings, first, last) if first or last else None
    today, verdicts = datetime.now(UTC).date(), {}
    for name in _named(catalog, table):
        try:
            with connect(settings.database_url) as session, session.transaction():
                verdicts[name] = run_checks(session, catalog.tables[name], weeks, today=today)
        except NotFound:
            # Of all tables, those that were never refreshed have nothing to judge.
            if table:
                raise
    if json:
        found = [{"table": name} | one.as_json() for name in verdicts for one in verdicts[name]]
        typer.echo(json_format.dumps(found, indent=2))
    else:
        for name, of_table in verdicts.items():
            failing = [verdict for verdict in of_table if verdict.ok is False]
            judged_ones = sum(verdict.ok is not None for verdict in of_table)
            good = judged_ones - len(failing)
            console.print(f"{name}: {good} of {judged_ones} metrics are as they should be")
            for one in failing:
                style = "red" if one.is_error else "yellow"
                said = f"  {one.metric.check}: {one}"
                console.print(said, style=style, markup=False, soft_wrap=True)
    if any(one.ok is False and one.is_error for of_table in verdicts.values() for one in of_table):
        raise typer.Exit(1)


@quarantine_app.command("list")
def list_(table: Tables = None, json: Json = False) -> None:
    """Count the rows that wait, by table, week and what is wrong with them."""
    settings, catalog = ready()
    with connect(settings.database_url) as session:
        groups = quarantine.groups(session, _named(catalog, table))
        rows = sum(quarantine.waiting(session, _named(catalog, table)).values())
    if json:
        typer.echo(json_format.dumps([asdict(group) for group in groups], indent=2, default=str))
        return
    if not groups:
        console.print("no row is in quarantine")
        return
    grid = grid_of("table", "week", "rows", "example", "what is wrong")
    for one in groups:
        grid.add_row(one.table, str(one.week), f"{one.rows:,}", str(one.example), one.reason)
    console.print(grid)
    console.print(f"{rows:,} rows wait; `sqp-refresh quarantine show` shows one by its number")


@quarantine_app.command()
def show(
    number: Annotated[int, typer.Argument(help="The row's number, as `list` gives one.")],
    json: Json = False,
) -> None:
    """Show one row as the source sent it, and everything that is wrong with it."""
    settings, _ = ready()
    with connect(settings.database_url) as session:
        row = quarantine.row(session, number)
    if json:
        typer.echo(json_format.dumps(asdict(row), indent=2, default=str))
        return
    state = f"judged again at {row.replayed_at}" if row.replayed_at else "waits"
    about = f"row {row.id} of {row.table}, week {row.week}, refused at {row.created_at}, {state}"
    console.print(about, markup=False, soft_wrap=True)
    for reason in row.reasons:
        console.print(f"  {reason}", style="yellow", markup=False, soft_wrap=True)
    width = max(map(len, row.row), default=0)
    for title, value in row.row.items():
        console.print(f"{title:<{width}}  {_shown(value)}", markup=False, soft_wrap=True)


@quarantine_app.command()
def replay(table: Tables = None) -> None:
    """Read the weeks of the rows that wait again, once the rule or the source is mended.

    Every row of these weeks goes through the contract and into its table as on any night, and so
    do the tables made from it; exit status 1 where a row is refused once more.
    """
    settings, catalog = ready()
    names = _named(catalog, table)
    with connect(settings.database_url) as session:
        before = quarantine.waiting(session, names)
    if not before:
        console.print("no row is in quarantine")
        return
    well = _read_again(settings, catalog, before)
    with connect(settings.database_url) as session:
        after = quarantine.waiting(session, names)
    for name in dict.fromkeys(name for name, _ in before):
        waited = sum(rows for (of, _), rows in before.items() if of == name)
        refused = sum(rows for week, rows in after.items() if week in before and week[0] == name)
        console.print(
            f"{name}: {waited:,} rows waited; {refused:,} rows of their weeks are refused now, the "
            "others were accepted or are gone from the source"
        )
    if after or not well:
        raise typer.Exit(1)


def _read_again(settings: Settings, catalog: Catalog, waiting: Waiting) -> bool:
    """Refresh the weeks of these rows, and whatever is made from the same source."""
    enabled = set(enabled_tables(settings, catalog))
    well = True
    for name in dict.fromkeys(name for name, _ in waiting):
        table = catalog.table(name)
        if name not in enabled:
            raise Stopped(f"{name} is disabled; `sqp-refresh enable {name}` to replay its rows")
        tables = [made for made in catalog.made_from(table.source) if made in enabled]
        days = [day for of, day in waiting if of == name]
        whole = table.grain is Grain.TABLE
        latest = finished_weeks(settings.REFRESH_START_DATE, datetime.now(UTC).date())[-1:]
        weeks = latest if whole else [Period.week_of(day) for day in days]
        for stretch in stretches(weeks):
            well &= run_refresh(settings, catalog, stretch, tables, force=True, json=False)
    return well


def _named(catalog: Catalog, tables: list[str] | None) -> list[str]:
    return [catalog.table(name).name for name in tables or catalog.tables]


def _shown(value: Any) -> str:  # noqa: ANN401, whatever JSON holds
    return "null" if value is None else repr(value) if isinstance(value, str) else str(value)
