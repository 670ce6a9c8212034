"""Define the commands that test receivers of alerts, and list alerts that were not delivered."""

import json as json_format
from dataclasses import asdict

import typer

from sqp_refresh.alerts import outbox
from sqp_refresh.cli.common import Json, console, load_settings
from sqp_refresh.errors import SettingsError
from sqp_refresh.postgres.session import connect
from sqp_refresh.schema_name import SCHEMA

alerts_app = typer.Typer(
    help="Send a test to every receiver of alerts; list alerts that were not delivered.",
    no_args_is_help=True,
)


@alerts_app.command()
def test() -> None:
    """Send a test to every receiver now; exit status 1 if one did not accept it."""
    from sqp_refresh.alerts.delivery import send_test

    settings = load_settings()
    with connect(settings.database_url) as session:
        results = list(send_test(session, settings))
    if not results:
        raise SettingsError(
            "nobody receives alerts; set REFRESH_WEBHOOK_URL or REFRESH_NOTIFY_URLS, or insert a "
            f"row into {SCHEMA}.webhook_configs"
        )
    for receiver, result in results:
        style = "red" if result.error else "green"
        _print_result(receiver.name, result.error or "accepted", style)
    if settings.REFRESH_WEBHOOK_SECRET is None and any(
        receiver.is_webhook for receiver, _ in results
    ):
        _print_result("webhooks", "not signed; set REFRESH_WEBHOOK_SECRET to sign them", "yellow")
    if any(result.error for _, result in results):
        raise typer.Exit(1)


@alerts_app.command("list")
def list_(json: Json = False) -> None:
    """List the alerts that were not delivered: those tried again, and those given up."""
    settings = load_settings()
    with connect(settings.database_url) as session:
        alerts = outbox.list_undelivered(session)
    if json:
        rows = [asdict(alert) for alert in alerts]
        typer.echo(json_format.dumps(rows, indent=2, default=str))
        return
    if not alerts:
        console.print("every alert was delivered")
        return
    for alert in alerts:
        _print(str(alert), "yellow" if alert.next_attempt_at else "red")


def _print_result(receiver: str, message: str, style: str) -> None:
    mark = {"green": "ok", "red": "!!", "yellow": "--"}[style]
    _print(f"{mark}  {receiver}: {message}", style)


def _print(line: str, style: str) -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
