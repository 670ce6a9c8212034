"""Define the commands that create, change and remove the schema of this process."""

from typing import TYPE_CHECKING, Annotated

import typer

from sqp_refresh.cli.common import complain, say
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from sqp_refresh.postgres.downgrade_plan import DowngradePlan


def migrate(
    sql: Annotated[
        bool, typer.Option("--sql", help="Only print the SQL for an empty database.")
    ] = False,
) -> None:
    """Create the tables of the schema, or bring them up to date; run again, it does nothing.

    Also builds the indexes that an interrupted first load left out, puts back views, functions and
    triggers that somebody replaced, and names what no migration can mend: columns, constraints and
    indexes that somebody changed, each with its remedy.
    """
    from sqp_refresh.postgres import migrate as migrations

    settings = Settings.read()
    if sql:
        typer.echo(migrations.render_sql())
        return
    database_url = settings.database_url
    applied = migrations.upgrade(database_url)
    if applied:
        say(f"applied {', '.join(applied)}")
    if not _mend(database_url) and not applied:
        say("nothing to do")


def _mend(database_url: str) -> bool:
    """Mend what can be mended, and name what else is wrong; return whether anything was.

    Built are the indexes that are left out, and put back are views, functions and triggers that
    somebody replaced.
    """
    from sqp_refresh.control import missing_indexes
    from sqp_refresh.postgres import release_definitions
    from sqp_refresh.postgres.read_access import settle_readers
    from sqp_refresh.postgres.schema_catalog import read_schema
    from sqp_refresh.postgres.schema_differences import column_differences
    from sqp_refresh.postgres.session import connect

    with connect(database_url) as session:
        with session.transaction():
            built = missing_indexes.build_missing(session)
        with session.transaction():
            restored = release_definitions.put_back(session)
        with session.transaction():
            settle_readers(session)
        with session.transaction():
            problems = [
                *column_differences(read_schema(session)),
                *missing_indexes.warnings(session),
            ]
    if built:
        say(f"built {built} indexes that a first load left out")
    for subject in restored:
        say(f"put back {subject}")
    for problem in problems:
        complain(problem, "yellow")
    return bool(built or restored or problems)


def downgrade(
    revision: Annotated[
        str,
        typer.Argument(
            metavar="REVISION",
            help="Revision to go back to, e.g. 0007; base removes the whole schema.",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Undo migrations, and delete the tables that they created, with their rows."""
    from sqp_refresh.postgres import migrate as migrations
    from sqp_refresh.postgres.downgrade_plan import plan_downgrade, target_revisions

    known = target_revisions()
    if revision not in known:
        complain(f"there is no revision {revision!r}; choose from {', '.join(known)}")
        raise typer.Exit(2)
    database_url = Settings.read().database_url
    if not yes:
        _confirm(plan_downgrade(database_url, revision))
    removed = migrations.downgrade(database_url, revision)
    say(f"removed {', '.join(removed)}" if removed else "nothing to do")


def _confirm(plan: "DowngradePlan") -> None:
    """Ask whether to go on, unless there is nothing to do; end the command if not."""
    if not plan.revisions:
        return
    place = f"database {plan.database} at {plan.host}"
    loss = "deletes tables with their rows:" if plan.rows_by_table else "deletes no table."
    say(f"This takes back {', '.join(plan.revisions)} in {place}. It {loss}")
    for table, rows in plan.rows_by_table.items():
        say(f"  {SCHEMA}.{table}: {rows:,} rows")
    typer.confirm("Go on?", abort=True)
