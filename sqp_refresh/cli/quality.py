"""Define the commands that check the tables, and that show and replay quarantined rows."""

import json as json_format
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqp_refresh.cli.common import (
    FirstDay,
    Json,
    LastDay,
    Tables,
    console,
    enabled_tables,
    load_settings,
    load_settings_and_catalog,
    requested_weeks,
    run_refresh,
    today,
)
from sqp_refresh.cli.console import grid_of
from sqp_refresh.control import quarantine
from sqp_refresh.errors import NotFound, Permanent, Stopped
from sqp_refresh.ledger.verdicts import periods_to_reload
from sqp_refresh.model.periods import ALL_TIME, Grain, Period, finished_weeks, stretches
from sqp_refresh.model.text import listing
from sqp_refresh.model.versions import ROW_COUNT
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from sqp_refresh.checks.evaluate import Verdict

Waiting = Mapping[tuple[str, date], int]
"""Number of rows that wait in quarantine, by table and first day of their week."""

quarantine_app = typer.Typer(
    help="List, show and replay the rows that broke their contract.", no_args_is_help=True
)


def check(
    table: Tables = None, first: FirstDay = None, last: LastDay = None, json: Json = False
) -> None:
    """Check what the tables hold, all weeks by default; exit status 1 if there is an error."""
    settings, catalog = load_settings_and_catalog()
    weeks = requested_weeks(settings, first, last) if first or last else None
    # A table that was never refreshed has nothing to check; it is an error only if it was named.
    names, errors = _table_names(catalog, table), dict[str, str]()
    verdicts = _run_checks(settings, catalog, names, weeks, errors, is_named=bool(table))
    if json:
        rows = [
            {"table": name} | verdict.as_json() for name in verdicts for verdict in verdicts[name]
        ]
        rows += [{"table": name, "error": error} for name, error in errors.items()]
        typer.echo(json_format.dumps(rows, indent=2))
    else:
        to_reload = _read_periods_to_reload(settings, catalog, verdicts)
        for name, verdicts_of_table in verdicts.items():
            _print_verdicts(name, verdicts_of_table)
            _print_periods(verdicts_of_table, to_reload.get(name, ()))
        for name, error in errors.items():
            console.print(f"{name}: {error}", style="red", markup=False, soft_wrap=True)
    if errors or any(
        verdict.ok is False and verdict.is_error
        for verdicts_of_table in verdicts.values()
        for verdict in verdicts_of_table
    ):
        raise typer.Exit(1)


def _run_checks(
    settings: Settings,
    catalog: Catalog,
    tables: Iterable[str],
    weeks: Sequence[Period] | None,
    errors: dict[str, str],
    *,
    is_named: bool,
) -> dict[str, "list[Verdict]"]:
    """Check tables, and keep what goes wrong with one of them from ending the checks of others."""
    # Pandera takes a while to import.
    from sqp_refresh.checks.run_checks import run_checks

    verdicts = {}
    for name in tables:
        try:
            with connect(settings.database_url) as session, session.transaction():
                table = catalog.tables[name]
                verdicts[name] = run_checks(session, table, weeks, today=session.now().date())
        except Permanent as error:
            if is_named:
                raise
            if not isinstance(error, NotFound):
                errors[name] = str(error)
    return verdicts


def _print_verdicts(table: str, verdicts: "Sequence[Verdict]") -> None:
    judged = [verdict for verdict in verdicts if verdict.ok is not None]
    failing = [verdict for verdict in judged if not verdict.ok]
    good = len(judged) - len(failing)
    console.print(f"{table}: {good} of {len(judged)} metrics are as they should be")
    for verdict in failing:
        line = f"  {verdict.metric.check}: {verdict}"
        style = "red" if verdict.is_error else "yellow"
        console.print(line, style=style, markup=False, soft_wrap=True)


def _read_periods_to_reload(
    settings: Settings, catalog: Catalog, names: Iterable[str]
) -> Mapping[str, Sequence[Period]]:
    with connect(settings.database_url) as session:
        return periods_to_reload(session, [catalog.tables[name] for name in names])


def _print_periods(verdicts: "Sequence[Verdict]", to_reload: Sequence[Period]) -> None:
    """Print which periods could not be judged, and which the next refresh makes again."""
    by_verdict: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.metric.name == ROW_COUNT:
            for measurement in verdict.measurements:
                by_verdict.setdefault(verdict.of(measurement), []).append(measurement.period)
    lines: dict[str, Sequence[object]] = {
        "not compared, as what it was made from has changed since or is gone": by_verdict.get(
            "not judged", ()
        ),
        "pinned, so that it is not compared with its source": by_verdict.get("pinned", ()),
        "the next refresh makes it again": to_reload,
    }
    for reason, periods in lines.items():
        if periods:
            line = f"  {listing(periods)}: {reason}"
            console.print(line, style="yellow", markup=False, soft_wrap=True)


@quarantine_app.command("list")
def list_(table: Tables = None, json: Json = False) -> None:
    """Count the rows that wait, by table, week and the rule that they break."""
    settings, catalog = load_settings_and_catalog()
    tables = _table_names(catalog, table)
    with connect(settings.database_url) as session:
        groups = quarantine.count_by_reason(session, tables)
        rows = sum(quarantine.count_waiting(session, tables).values())
    if json:
        typer.echo(json_format.dumps([asdict(group) for group in groups], indent=2, default=str))
        return
    if not groups:
        console.print("no row is in quarantine")
        return
    grid = grid_of("table", "week", "rows", "example", "what is wrong")
    for group in groups:
        grid.add_row(
            group.table, str(group.week), f"{group.rows:,}", str(group.example), group.reason
        )
    console.print(grid)
    console.print(f"{rows:,} rows wait; `sqp-refresh quarantine show` shows one by its number")


@quarantine_app.command()
def show(
    number: Annotated[int, typer.Argument(help="Number of the row, an `example` of `list`.")],
    json: Json = False,
) -> None:
    """Show one row as the source sent it, and every rule that it breaks."""
    settings = load_settings()
    with connect(settings.database_url) as session:
        row = quarantine.read_row(session, number)
    if json:
        typer.echo(json_format.dumps(asdict(row), indent=2, default=str))
        return
    state = f"judged again at {row.replayed_at}" if row.replayed_at else "waits"
    title = f"row {row.id} of {row.table}, week {row.week}, refused at {row.created_at}, {state}"
    console.print(title, markup=False, soft_wrap=True)
    for reason in row.reasons:
        console.print(f"  {reason}", style="yellow", markup=False, soft_wrap=True)
    width = max(map(len, row.row), default=0)
    for column, value in row.row.items():
        line = f"{column:<{width}}  {_format_value(value)}"
        console.print(line, markup=False, soft_wrap=True)


@quarantine_app.command()
def replay(table: Tables = None) -> None:
    """Read the weeks of waiting rows again, after the rule or the source was corrected.

    Every row of these weeks is checked against its contract and published as on any night, and the
    tables that are made from them are refreshed too; exit status 1 if a row is refused again.
    """
    settings, catalog = load_settings_and_catalog()
    tables = _table_names(catalog, table)
    with connect(settings.database_url) as session:
        before = quarantine.count_waiting(session, tables)
    if not before:
        console.print("no row is in quarantine")
        return
    succeeded = _refresh_weeks_of(before, settings, catalog)
    with connect(settings.database_url) as session:
        after = quarantine.count_waiting(session, tables)
    for name in _tables_of(before):
        waited = sum(rows for (waiting_table, _), rows in before.items() if waiting_table == name)
        refused = sum(rows for week, rows in after.items() if week in before and week[0] == name)
        console.print(
            f"{name}: {waited:,} rows waited; {refused:,} rows of their weeks are refused now, the "
            "others were accepted or are gone from the source"
        )
    if after or not succeeded:
        raise typer.Exit(1)


def _refresh_weeks_of(waiting: Waiting, settings: Settings, catalog: Catalog) -> bool:
    """Refresh the weeks of waiting rows, in their tables and in those made from the same source.

    Returns:
        Whether every refresh succeeded.

    Raises:
        Stopped: a table that has waiting rows is disabled.
    """
    succeeded = True
    for weeks, tables in stretches_to_replay(waiting, settings, catalog):
        succeeded &= run_refresh(settings, catalog, weeks, tables, force=True, json=False)
    return succeeded


def stretches_to_replay(
    waiting: Waiting, settings: Settings, catalog: Catalog
) -> Iterator[tuple[list[Period], list[str]]]:
    """Yield the weeks of waiting rows that follow each other, and which tables to refresh there.

    Raises:
        Stopped: a table that has waiting rows is disabled.
    """
    enabled = set(enabled_tables(settings, catalog))
    for name in _tables_of(waiting):
        table = catalog.table(name)
        if name not in enabled:
            raise Stopped(f"{name} is disabled; `sqp-refresh enable {name}` to replay its rows")
        tables = [made for made in catalog.filled_from(table.source) if made in enabled]
        for weeks in stretches(_weeks_of(waiting, name, table.grain, settings)):
            yield weeks, tables


def _weeks_of(waiting: Waiting, table: str, grain: Grain, settings: Settings) -> list[Period]:
    newest = finished_weeks(settings.REFRESH_START_DATE, today(settings))[-1:]
    days = [day for waiting_table, day in waiting if waiting_table == table]
    # A table without weeks is read as a whole, whichever week is refreshed. Of one that was so when
    # its rows were refused, no week is on record, and any refresh settles them.
    if grain is Grain.TABLE:
        return newest
    weeks = [Period.week_of(day) for day in days if day != ALL_TIME.start]
    return weeks or newest


def _tables_of(waiting: Waiting) -> Iterable[str]:
    return dict.fromkeys(table for table, _ in waiting)


def _table_names(catalog: Catalog, tables: list[str] | None) -> list[str]:
    return [catalog.table(name).name for name in tables or catalog.tables]


def _format_value(value: Any) -> str:  # noqa: ANN401, a JSON value
    return "null" if value is None else repr(value) if isinstance(value, str) else str(value)
