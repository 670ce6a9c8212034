"""Define the commands that create, change and remove schema `sqp`."""

from typing import Annotated

import typer

from sqp_refresh.settings import Settings


def migrate(
    sql: Annotated[
        bool, typer.Option("--sql", help="Only print the SQL for an empty database.")
    ] = False,
) -> None:
    """Create the tables of schema sqp, or bring them up to date; run again, it does nothing."""
    from sqp_refresh.postgres import migrate as migrations

    if sql:
        typer.echo(migrations.render_sql())
        return
    applied = migrations.upgrade(Settings.read().database_url)
    typer.echo(f"applied {', '.join(applied)}" if applied else "nothing to do")


def downgrade(
    revision: Annotated[str, typer.Argument(help="Revision to go back to.")] = "base",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Undo migrations, and delete their tables with the rows; by default the whole schema."""
    from sqp_refresh.postgres import migrate as migrations

    database_url = Settings.read().database_url
    if not yes:
        typer.confirm("This deletes tables in schema sqp and the rows in them. Go on?", abort=True)
    removed = migrations.downgrade(database_url, revision)
    typer.echo(f"removed {', '.join(removed)}" if removed else "nothing to do")
