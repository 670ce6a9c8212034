"""Define the commands that take the place of an older system in the same database."""

import json as json_format
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from sqp_refresh.cli.common import (
    FirstDay,
    Json,
    LastDay,
    complain,
    console,
    load_settings,
    load_settings_and_catalog,
    say,
)
from sqp_refresh.errors import RefreshError
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.schema_name import DEFAULT_SCHEMA
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from sqp_refresh.adoption.adopt import Adoption
    from sqp_refresh.adoption.comparison import PeriodRows, TableComparison, Ways


def compare(
    schema: Annotated[str, typer.Argument(metavar="SCHEMA", help="The schema to compare with.")],
    table: Annotated[
        list[str] | None,
        typer.Option("--table", help="Table, may be repeated; all that both have by default."),
    ] = None,
    first: FirstDay = None,
    last: LastDay = None,
    column_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="OLD=NEW",
            help="What a column there is called here, may be repeated; beside the known names.",
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option("--sample", min=0, help="Examples of each column and way (count).")
    ] = 3,
    json: Json = False,
) -> None:
    """Compare the tables with those of another schema, week by week and column by column.

    Nothing is written. Exit status 0: both hold the same; 1: they differ; 2: wrong usage, or it
    cannot be told.
    """
    from sqp_refresh.adoption import compare as comparing
    from sqp_refresh.adoption.older_names import parse_map

    with _cannot_be_told():
        settings, catalog = load_settings_and_catalog()
        request = comparing.CompareRequest(
            schema,
            table or [],
            first.date() if first else None,
            last.date() if last else None,
            parse_map(column_map or []),
            sample,
        )
        compared = list(comparing.compare(settings.database_url, catalog, request))
    if json:
        equal = all(of_table.is_equal for of_table in compared)
        tables = [of_table.as_json() for of_table in compared]
        report = {"schema": schema, "equal": equal, "tables": tables}
        typer.echo(json_format.dumps(report, indent=2, default=str))
    else:
        for of_table in compared:
            _show_comparison(of_table)
    if not all(of_table.is_equal for of_table in compared):
        raise typer.Exit(1)


def grant(
    read: Annotated[
        list[str],
        typer.Option("--read", metavar="ROLE", help="Who is to read, may be repeated."),
    ],
) -> None:
    """Let a role read the tables and views of data, those of later, too, and no control table."""
    from sqp_refresh.postgres.read_access import grant_read
    from sqp_refresh.postgres.session import connect

    with connect(load_settings().database_url) as session, session.transaction():
        data = {role: grant_read(session, role) for role in read}
    for role, names in data.items():
        say(f"{role} may read {', '.join(names)}, and what is added to {SCHEMA} later")


def views(
    compat: Annotated[
        str,
        typer.Option(
            "--compat", metavar="SCHEMA", help="The schema of the views; made if need be."
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only print the SQL; change nothing.")
    ] = False,
) -> None:
    """Offer the tables as views under the column names of the older system.

    A view is as its reader is allowed (security_invoker); whoever may read a table may read its
    view. What was not made by this command is never replaced.
    """
    from sqp_refresh.adoption.compat_views import plan_views
    from sqp_refresh.postgres.session import connect

    with connect(load_settings().database_url) as session, session.transaction():
        plan = plan_views(session, compat)
        for statement in plan.statements:
            if dry_run:
                typer.echo(f"{statement.as_string(None)};")
            else:
                session.execute(statement)
    if not dry_run:
        say(f"{len(plan.views)} views in schema {compat}: {', '.join(plan.views)}")


def adopt(
    from_schema: Annotated[
        str, typer.Option("--from", metavar="SCHEMA", help="The older system's schema.")
    ] = DEFAULT_SCHEMA,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would become of what; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    take_back: Annotated[
        bool, typer.Option("--undo", help="Give both schemas their former names again.")
    ] = False,
    json: Json = False,
) -> None:
    """Take the place of an older system: its schema steps aside, and this one takes its name.

    First lists everything that reads the older tables, what becomes of it, and the SQL that points
    it at the new ones. One transaction; nothing is dropped. Stop the code location before, and set
    SQP_SCHEMA to the new name afterwards.
    """
    from sqp_refresh.adoption import adopt as adopting

    if take_back:
        _undo(from_schema, yes=yes, dry_run=dry_run)
        return
    # Before anything says that our schema, which has another name then, is not there.
    adopting.require_not_done(Settings.read().database_url, from_schema)
    settings, catalog = load_settings_and_catalog()
    plan = adopting.adopt(settings.database_url, catalog, from_schema, dry_run=True)
    if json:
        typer.echo(json_format.dumps(plan.as_json(), indent=2))
    else:
        _show_adoption(plan)
    if dry_run:
        return
    if not yes:
        typer.confirm("Go on?", abort=True, err=True)
    adopting.adopt(settings.database_url, catalog, from_schema, dry_run=False)
    say(
        f"done: set SQP_SCHEMA to {from_schema} wherever it is {SCHEMA}, and start the code "
        "location again",
        err=True,
    )


def _undo(from_schema: str, *, yes: bool, dry_run: bool) -> None:
    from sqp_refresh.adoption import adopt as adopting

    if dry_run:
        complain("--undo has no --dry-run")
        raise typer.Exit(2)
    settings = Settings.read()
    adopting.require_done(settings.database_url, from_schema)
    if not yes:
        typer.confirm(f"{from_schema}{adopting.ASIDE} becomes {from_schema} again?", abort=True)
    ours = adopting.undo(settings.database_url, read_catalog(settings), from_schema)
    say(f"done: {from_schema} is the older one again; set SQP_SCHEMA to {ours}")


def _show_adoption(adoption: "Adoption") -> None:
    from sqp_refresh.adoption.dependents import by_kind

    _print(f"{adoption.theirs} becomes {adoption.aside}, and {adoption.ours} {adoption.theirs}")
    for kind, dependents in by_kind(adoption.dependents).items():
        _print(f"\n{kind}:")
        for dependent in dependents:
            _print(f"  {dependent.name}: {dependent.effect}")
            if dependent.remark:
                _print(f"    {dependent.remark}", "dim")
            if dependent.sql:
                _print("\n".join(f"      {line}" for line in dependent.sql.splitlines()), "cyan")
    taken = adoption.taken
    for setting in taken["settings"]:
        _print(f"\n{setting['table']}: is_enabled, priority, hours are {setting['after']}")
    for name in taken["receivers"]:
        _print(f"receiver of alerts: {name}")
    for relation, role, privilege in taken["grants"]:
        place = f"{adoption.theirs}.{relation}" if relation else f"schema {adoption.theirs}"
        _print(f"grant: {privilege} on {place} to {role or 'PUBLIC'}")
    for text in taken["left"]:
        _print(text, "yellow")


@contextmanager
def _cannot_be_told() -> Iterator[None]:
    """End the command with status 2 where 1 would say that there is a difference."""
    try:
        yield
    except RefreshError as error:
        complain(str(error))
        raise typer.Exit(2) from None


def _show_comparison(of_table: "TableComparison") -> None:
    if of_table.problem:
        _print(f"{of_table.table}: not compared: {of_table.problem}", "red")
        return
    _print(f"{of_table.table}: {_rows(of_table.rows)}", None if of_table.is_equal else "yellow")
    for side, names in (("here", of_table.only_here), ("there", of_table.only_there)):
        if names:
            _print(f"  only {side}, not compared: {', '.join(names)}", "dim")
    for rows in of_table.periods:
        if not rows.is_equal:
            _print(f"  {rows.period or 'the whole table'}: {_rows(rows)}")
            for name, ways in of_table.values.get(rows.period, {}).items():
                _print(f"    {_column(of_table, name, ways)}")
    for example in of_table.examples:
        key = ", ".join(f"{name} {value}" for name, value in example.key.items())
        here, there = (value or "null" for value in (example.here, example.there))
        values = f"{example.column} {here} here, {there} there: "
        _print(f"  for example {values if example.column else example.how + ': '}{key}", "dim")
    for cause in of_table.causes():
        _print(f"  likely: {cause}", "cyan")


def _rows(rows: "PeriodRows") -> str:
    return (
        f"{rows.both:,} rows in both, {rows.only_here:,} only here, "
        f"{rows.only_there:,} only there, {rows.differing:,} differ"
    )


def _column(of_table: "TableComparison", name: str, ways: "Ways") -> str:
    from sqp_refresh.adoption.value_patterns import words_for

    there = of_table.names[name]
    label = name if there == name else f"{name} (there {there})"
    how = ", ".join(f"{count:,} {words_for(way)}" for way, count in ways.items())
    return f"{label}: {sum(ways.values()):,} differ: {how}"


def _print(text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, soft_wrap=True, highlight=False)
