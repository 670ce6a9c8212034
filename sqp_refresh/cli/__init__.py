"""Define the command `sqp-refresh`, for operators who work without the Dagster UI.

The exit status is 0 if all was done, 1 if something failed, and 2 for wrong usage; `status` has its
own.
"""

import sys
from typing import Annotated

import typer

from sqp_refresh import __version__, gc_tuning
from sqp_refresh.cli.env_file import read_env_file

# What is imported below is made for the schema that SQP_SCHEMA names.
read_env_file()

from sqp_refresh.cli import (
    adoption,
    alerts,
    dashboard,
    demo,
    health,
    operations,
    past,
    quality,
    refreshes,
    schema,
    verification,
)
from sqp_refresh.cli.common import complain
from sqp_refresh.errors import RefreshError

app = typer.Typer(
    help="The nightly refresh of Search Query Performance data, from BigQuery into Postgres.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    schema.migrate,
    schema.downgrade,
    refreshes.refresh,
    refreshes.plan,
    quality.check,
    verification.verify,
    past.restatements,
    past.rollback,
    operations.disable,
    operations.enable,
    operations.stop,
    operations.configure,
    operations.unpin,
    operations.register,
    operations.unregister,
    operations.maintain,
    health.status,
    health.history,
    health.doctor,
    health.explain,
    dashboard.dashboard,
    adoption.compare,
    adoption.views,
    adoption.adopt,
    adoption.grant,
    demo.demo,
):
    app.command()(command)
app.add_typer(quality.quarantine_app, name="quarantine")
app.add_typer(alerts.alerts_app, name="alerts")


def _print_version(is_asked_for: bool) -> None:
    if is_asked_for:
        typer.echo(f"sqp-refresh {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; print an expected error as one line, without a traceback."""
    gc_tuning.collect_less_often()
    gc_tuning.skip_collection_at_exit()
    try:
        app()
    except RefreshError as error:
        complain(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(130)
