"""Commands that create, change and remove schema `sqp`."""

from typing import Annotated

import typer

from sqp_refresh.settings import Settings


def migrate(
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL for an empty database instead.")
    ] = False,
) -> None:
    """Create or bring up to date the tables in schema sqp; run again, it does nothing."""
    from sqp_refresh.postgres import migrate as migrations

    if sql:
        typer.echo(migrations.render_sql())
        return
    applied = migrations.upgrade(Settings.read().database_url)
    typer.echo(f"applied {', '.join(applied)}" if applied else "nothing to do")


def downgrade(
    revision: Annotated[str, typer.Argument(help="Revision to go back to.")] = "base",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
) -> None:
    """Take migrations back, and the rows in their tables with them; to `base`, nothing is left."""
    from sqp_refresh.postgres import migrate as migrations

    database_url = Settings.read().database_url
    if not yes:
        typer.confirm("This deletes tables in schema sqp and the rows in them. Go on?", abort=True)
    removed = migrations.downgrade(database_url, revision)
    typer.echo(f"removed {', '.join(removed)}" if removed else "nothing to do")
