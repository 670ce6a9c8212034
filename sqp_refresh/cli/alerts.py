"""Commands that look after alerts: whether they arrive, and which have not."""

import json as json_format
from dataclasses import asdict

import typer
from rich.console import Console

from sqp_refresh.alerts import outbox
from sqp_refresh.cli.refreshes import Json, ready
from sqp_refresh.errors import SettingsError
from sqp_refresh.postgres.session import connect

console = Console()

alerts_app = typer.Typer(
    help="Send a test to everybody who receives alerts; list those not delivered.",
    no_args_is_help=True,
)


@alerts_app.command()
def test() -> None:
    """Send a test to every receiver now; exit status 1 where one did not accept it."""
    from sqp_refresh.alerts.delivery import send_test

    settings, _ = ready()
    with connect(settings.database_url) as session:
        outcome = list(send_test(session, settings))
    if not outcome:
        raise SettingsError(
            "nobody receives alerts; set REFRESH_WEBHOOK_URL or REFRESH_NOTIFY_URLS, or insert a "
            "row into sqp.webhook_configs"
        )
    for receiver, answer in outcome:
        _say(receiver.name, answer.error or "accepted", "red" if answer.error else "green")
    if settings.REFRESH_WEBHOOK_SECRET is None and any(one.is_webhook for one, _ in outcome):
        _say("webhooks", "not signed; set REFRESH_WEBHOOK_SECRET to sign them", "yellow")
    if any(answer.error for _, answer in outcome):
        raise typer.Exit(1)


@alerts_app.command("list")
def list_(json: Json = False) -> None:
    """List the alerts that were not delivered: those tried again, and those given up."""
    settings, _ = ready()
    with connect(settings.database_url) as session:
        found = outbox.list_undelivered(session)
    if json:
        typer.echo(json_format.dumps([asdict(one) for one in found], indent=2, default=str))
        return
    if not found:
        console.print("every alert was delivered")
        return
    for one in found:
        style = "yellow" if one.next_attempt_at else "red"
        _print(str(one), style)


def _say(about: str, said: str, style: str) -> None:
    mark = {"green": "ok", "red": "!!", "yellow": "--"}[style]
    _print(f"{mark}  {about}: {said}", style)


def _print(line: str, style: str) -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
