"""Commands that start, stop and look after refreshes; each does what a line of SQL could do too."""

from collections.abc import Sequence
from typing import Annotated

import typer

from sqp_refresh.control import checkpoints
from sqp_refresh.errors import SettingsError
from sqp_refresh.model.tables import Dependency
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry import refresh_config
from sqp_refresh.settings import Settings

Tables = Annotated[list[str] | None, typer.Argument(help="Tables of schema sqp.")]
All = Annotated[bool, typer.Option("--all", help="Every registered table.")]
Names = Annotated[list[str] | None, typer.Option()]


def disable(tables: Tables = None, all_: All = False) -> None:
    """Start no new work on tables; a refresh in flight stops at its next week."""
    _switch(tables, all_, enabled=False)


def enable(tables: Tables = None, all_: All = False) -> None:
    """Allow tables to be refreshed again."""
    _switch(tables, all_, enabled=True)


def stop(tables: Tables = None, all_: All = False) -> None:
    """Stop refreshes in flight at their next week, cleanly; later ones start as usual."""
    with connect(Settings.read().database_url) as session, session.transaction():
        stopped = checkpoints.expire(session, _named(session, tables, all_))
    typer.echo(f"stopping {', '.join(stopped)}" if stopped else "nothing is being refreshed")


def register(
    table: Annotated[str, typer.Argument(help="Table of schema sqp, which exists already.")],
    source: Annotated[
        str | None,
        typer.Option(help="Table in BigQuery that fills it, as [[project.]dataset.]table."),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Column of its primary key, again for more.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="TITLE=COLUMN: what a column in BigQuery becomes, again for more."),
    ] = None,
    week_column: Annotated[
        str | None,
        typer.Option(help="Title of the date that places a row in its week; else it is read whole"),
    ] = None,
    after: Annotated[
        list[str] | None, typer.Option(help="Table that must be refreshed before it.")
    ] = None,
    soft_after: Annotated[
        list[str] | None, typer.Option(help="The same, but whose failure it can do without.")
    ] = None,
    priority: Annotated[int, typer.Option(help="Higher is refreshed first.")] = 50,
) -> None:
    """Enter a table into the registry; without --source it stays disabled."""
    from sqp_refresh.registry.registration import check_registration
    from sqp_refresh.registry.registration import register as enter

    settings = Settings.read()
    parents = dict.fromkeys(after or [], Dependency.HARD)
    parents |= dict.fromkeys(soft_after or [], Dependency.SOFT)
    with connect(settings.database_url) as session, session.transaction():
        params = check_registration(
            settings, session, table, source, key or [], _mapping(column or []), week_column
        )
        enabled = source is not None
        enter(session, table, params, enabled=enabled, priority=priority, parents=parents)
    said = "becomes an asset when the code location is next loaded" if enabled else "is disabled"
    typer.echo(f"sqp.{table} is registered and {said}")


def maintain() -> None:
    """Close, delete and archive now what has come of age, as the maintenance schedules do."""
    from sqp_refresh.control import maintenance

    settings = Settings.read()
    with connect(settings.database_url) as session:
        done = maintenance.maintain(session, settings)
    for duty, rows in done.items():
        typer.echo(f"{rows:,} {duty.replace('_', ' ')}")


def _switch(tables: Sequence[str] | None, all_: bool, *, enabled: bool) -> None:
    with connect(Settings.read().database_url) as session, session.transaction():
        changed = refresh_config.set_enabled(
            session, _named(session, tables, all_), enabled=enabled
        )
    done = "enabled" if enabled else "disabled"
    typer.echo(f"{done} {', '.join(changed)}" if changed else f"already {done}")


def _named(session: Session, tables: Sequence[str] | None, all_: bool) -> list[str]:
    known = refresh_config.read_registrations(session)
    if all_ == bool(tables):
        raise SettingsError("name one or more tables, or all of them with --all")
    for table in tables or ():
        if table not in known:
            raise SettingsError(
                f"there is no table {table!r} in sqp.refresh_config; choose from {', '.join(known)}"
            )
    return list(known) if all_ else list(tables or ())


def _mapping(columns: Sequence[str]) -> dict[str, str]:
    for column in columns:
        if "=" not in column:
            raise SettingsError(f"--column {column!r} must be TITLE=COLUMN")
    return dict(column.rsplit("=", 1) for column in columns)
