"""Define the commands that test receivers of alerts, list undelivered alerts, and mute alerts."""

import json as json_format
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import date, datetime
from typing import Annotated

import typer

from sqp_refresh.alerts import mutes, outbox
from sqp_refresh.alerts.mutes import Mute
from sqp_refresh.cli.common import Json, console, load_settings, load_settings_and_catalog
from sqp_refresh.errors import SettingsError
from sqp_refresh.model.periods import Grain, Period
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.schema_name import SCHEMA

MutedTables = Annotated[
    list[str] | None,
    typer.Option("--table", help="Table, may be repeated; with --week, every table by default."),
]
MutedWeeks = Annotated[
    list[datetime] | None,
    typer.Option("--week", formats=["%Y-%m-%d"], help="Any day of a week, may be repeated."),
]

alerts_app = typer.Typer(
    help="Send a test to every receiver of alerts; list or retry alerts that were not delivered; "
    "mute what is known.",
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
    if not settings.signing_secrets and any(
        receiver.is_webhook and not receiver.secret_names for receiver, _ in results
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


@alerts_app.command()
def retry() -> None:
    """Make alerts that were not delivered due now, also those given up; the sensor sends them."""
    with connect(load_settings().database_url) as session, session.transaction():
        alerts = outbox.retry_undelivered(session)
    console.print(f"{alerts} alerts are due now" if alerts else "every alert was delivered")


@alerts_app.command()
def mute(
    until: Annotated[
        datetime, typer.Option(formats=["%Y-%m-%d"], help="The last day of it, in UTC.")
    ],
    table: MutedTables = None,
    week: MutedWeeks = None,
    reason: Annotated[str, typer.Option(help="Why, for your colleagues.")] = "",
) -> None:
    """Alert nobody of a table, a week, or a week of a table, until a day is over."""
    settings, catalog = load_settings_and_catalog()
    if not table and not week:
        raise SettingsError("name what to mute: a --table, a --week, or both")
    with connect(settings.database_url) as session, session.transaction():
        if until.date() < session.now().date():
            raise SettingsError(f"--until {until:%Y-%m-%d} is over; choose a day that is not")
        muted = [
            mutes.mute(session, name, day, until.date(), reason)
            for name, days in _subjects(catalog, table, week).items()
            for day in days
        ]
    for each in muted:
        _print(f"muted {each}", "yellow")


@alerts_app.command()
def unmute(table: MutedTables = None, week: MutedWeeks = None) -> None:
    """Alert again of what was muted: all of it, or what the tables and weeks name."""
    settings, catalog = load_settings_and_catalog()
    with connect(settings.database_url) as session, session.transaction():
        if week:
            unmuted = [
                each
                for name, days in _subjects(catalog, table, week).items()
                for each in mutes.unmute(session, [name] if name else None, days)
            ]
        else:
            unmuted = mutes.unmute(session, table)
        if not unmuted and (table or week):
            raise SettingsError(_nothing_muted(session))
    for each in unmuted:
        _print(f"unmuted {each.subject}", "green")
    if not unmuted:
        console.print("nothing is muted")


def _subjects(
    catalog: Catalog, tables: Sequence[str] | None, days: Iterable[datetime] | None
) -> dict[str | None, list[date | None]]:
    """Return the first days of the periods that days are in, by the name of each table.

    Raises:
        SettingsError: there is no table of such a name.
    """
    if not tables:
        return {None: [Period.week_of(day.date()).start for day in days or ()]}
    grains = {name: catalog.table(name).grain for name in tables}
    return {name: _first_days(grain, days) for name, grain in grains.items()}


def _first_days(grain: Grain, days: Iterable[datetime] | None) -> list[date | None]:
    if not days:
        return [None]
    return [Period.containing(day.date(), grain).start for day in days]


def _nothing_muted(session: Session) -> str:
    there = mutes.list_mutes(session)
    what = listing(map(_subject, there), "; ")
    return f"that is not muted; {f'what is: {what}' if there else 'nothing is'}"


def _subject(muted: Mute) -> str:
    return muted.subject


def _print_result(receiver: str, message: str, style: str) -> None:
    mark = {"green": "ok", "red": "!!", "yellow": "--"}[style]
    _print(f"{mark}  {receiver}: {message}", style)


def _print(line: str, style: str) -> None:
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
