"""Define the commands that disable, stop and register tables, and that clean up.

Each does what a SQL statement could do as well.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from sqp_refresh.control import checkpoints
from sqp_refresh.errors import SettingsError
from sqp_refresh.model.tables import Dependency
from sqp_refresh.model.text import printable
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry import refresh_config
from sqp_refresh.schema_name import SCHEMA
from sqp_refresh.settings import Settings

TableArguments = Annotated[list[str] | None, typer.Argument(help=f"Tables of schema {SCHEMA}.")]
All = Annotated[bool, typer.Option("--all", help="Every registered table.")]


def disable(tables: TableArguments = None, all_: All = False) -> None:
    """Start no new refresh of tables; a running refresh stops at its next week."""
    _set_enabled(tables, all_, enabled=False)


def enable(tables: TableArguments = None, all_: All = False) -> None:
    """Allow tables to be refreshed again."""
    _set_enabled(tables, all_, enabled=True)


def stop(tables: TableArguments = None, all_: All = False) -> None:
    """Stop running refreshes at their next week, cleanly; later refreshes start as usual."""
    with connect(Settings.read().database_url) as session, session.transaction():
        stopped = checkpoints.expire(session, _table_names(session, tables, all_))
    names = printable(", ".join(stopped))
    typer.echo(f"stopping {names}" if names else "nothing is being refreshed")


def register(
    table: Annotated[str, typer.Argument(help=f"Table of schema {SCHEMA}; it must exist already.")],
    source: Annotated[
        str | None,
        typer.Option(help="BigQuery table: table, dataset.table or project.dataset.table."),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Column of its primary key, may be repeated.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="TITLE=COLUMN: a column in BigQuery, and its name here, may be repeated."
        ),
    ] = None,
    week_column: Annotated[
        str | None,
        typer.Option(help="TITLE of the date that decides a row's week; else it is read whole."),
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(help="Table that must be refreshed before it, may be repeated."),
    ] = None,
    soft_after: Annotated[
        list[str] | None,
        typer.Option(help="The same, but it is refreshed even if that table fails."),
    ] = None,
    priority: Annotated[int, typer.Option(help="A higher priority is refreshed first.")] = 50,
) -> None:
    """Register a table; without --source it stays disabled."""
    from sqp_refresh.registry.registration import check_registration
    from sqp_refresh.registry.registration import register as enter

    settings = Settings.read()
    parents = dict.fromkeys(after or [], Dependency.HARD)
    parents |= dict.fromkeys(soft_after or [], Dependency.SOFT)
    with connect(settings.database_url) as session:
        params = check_registration(
            settings, session, table, source, key or [], _column_map(column or []), week_column
        )
        enabled = source is not None
        with session.transaction():
            enter(session, table, params, enabled=enabled, priority=priority, parents=parents)
    state = "becomes an asset when the code location is next loaded" if enabled else "is disabled"
    typer.echo(f"{SCHEMA}.{printable(table)} is registered and {state}")


def maintain() -> None:
    """Close, archive and delete old records, and build lacking indexes, as the schedules do."""
    from sqp_refresh.control import maintenance

    settings = Settings.read()
    with connect(settings.database_url) as session:
        rows_by_task = maintenance.maintain(session, settings)
    built = rows_by_task.pop("indexes_built", 0)
    for task, rows in rows_by_task.items():
        typer.echo(f"{rows:,} {task.replace('_', ' ')}")
    if built:
        typer.echo(f"{built} indexes built that a first load left out")


def _set_enabled(tables: Sequence[str] | None, all_: bool, *, enabled: bool) -> None:
    with connect(Settings.read().database_url) as session, session.transaction():
        names = _table_names(session, tables, all_)
        changed = refresh_config.set_enabled(session, names, enabled=enabled)
    state = "enabled" if enabled else "disabled"
    names = printable(", ".join(changed))
    typer.echo(f"{state} {names}" if names else f"already {state}")


def _table_names(session: Session, tables: Sequence[str] | None, all_: bool) -> list[str]:
    registrations = refresh_config.read_registrations(session)
    if all_ == bool(tables):
        raise SettingsError("name one or more tables, or all of them with --all")
    for table in tables or ():
        if table not in registrations:
            raise SettingsError(
                f"there is no table {table!r} in {SCHEMA}.refresh_config; choose from "
                f"{', '.join(registrations)}"
            )
    return list(registrations) if all_ else list(tables or ())


def _column_map(columns: Sequence[str]) -> dict[str, str]:
    for column in columns:
        if "=" not in column:
            raise SettingsError(f"--column {column!r} must be TITLE=COLUMN")
    return dict(column.rsplit("=", 1) for column in columns)
