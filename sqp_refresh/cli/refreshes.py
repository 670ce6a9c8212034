"""Define the commands that refresh tables, or show what a refresh would do."""

from collections.abc import Sequence
from typing import Annotated

import typer

from sqp_refresh.cli.common import (
    Accept,
    EnabledTables,
    FirstDay,
    Force,
    Json,
    LastDay,
    SourceAsOf,
    console,
    enabled_tables,
    load_settings_and_catalog,
    requested_tables,
    run_refresh,
    say,
    weeks_to_refresh,
)
from sqp_refresh.extract.source import WantedInstant
from sqp_refresh.model.periods import Period
from sqp_refresh.model.text import utc_minute
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.lookback import weeks_of_night
from sqp_refresh.refresh.sources import require_instant
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.registry.refresh_config import read_registrations
from sqp_refresh.settings import Settings


def refresh(
    table: EnabledTables = None,
    first: FirstDay = None,
    last: LastDay = None,
    force: Force = False,
    accept: Accept = False,
    source_as_of: SourceAsOf = None,
    due: Annotated[
        bool,
        typer.Option(
            "--due", help="Only tables whose next refresh has come, as the schedule does."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Refresh tables now, through the job that the schedule runs; the look-back by default."""
    instant = None if source_as_of is None else WantedInstant.parse(source_as_of)
    settings, catalog = load_settings_and_catalog()
    weeks = []
    if due:
        table, weeks = _due_now(settings, catalog, table, json=json)
        if not table:
            return
    if first or last or force or not weeks:
        weeks = weeks_to_refresh(settings, catalog, table, first, last, force=force)
    tables = table or []
    if instant:
        _require_instant(settings, catalog, tables, instant)
    is_good = run_refresh(
        settings, catalog, weeks, tables, force, json, accept=accept, source_as_of=instant
    )
    if instant and not json:
        console.print("`sqp-refresh status` names the weeks that are pinned now")
    if not is_good:
        raise typer.Exit(1)


def _due_now(
    settings: Settings, catalog: Catalog, tables: Sequence[str] | None, *, json: bool
) -> tuple[list[str], list[Period]]:
    """Return which of these tables are due now, and the weeks that their night looks at.

    Where none is due, which one is the next, and when, is printed.
    """
    names = requested_tables(catalog, tables or [], enabled_tables(settings, catalog))
    with connect(settings.database_url) as session:
        now, registrations = session.now(), read_registrations(session)
    waiting = [registrations[name] for name in names if registrations[name].is_enabled]
    due = [each for each in waiting if each.next_refresh_at <= now]
    if not due and json:
        typer.echo('{"run_ids": [], "tables": [], "failures": {}}')
    elif not due:
        following = min(waiting, key=lambda each: each.next_refresh_at, default=None)
        when = (
            f"; {following.table} is at {utc_minute(following.next_refresh_at)}"
            if following
            else ""
        )
        say(f"no enabled table is due{when}")
    params = [each.sync_params_if_readable for each in due]
    return [each.table for each in due], weeks_of_night(settings, params, now)


def _require_instant(
    settings: Settings, catalog: Catalog, tables: Sequence[str], instant: WantedInstant
) -> None:
    names = requested_tables(catalog, tables, enabled_tables(settings, catalog))
    require_instant(settings, map(catalog.table, names), instant)


def plan(
    table: EnabledTables = None,
    first: FirstDay = None,
    last: LastDay = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show which weeks a refresh would copy, why, and how much it would read; write nothing."""
    from sqp_refresh.cli.console import plan_as_json, show_plan
    from sqp_refresh.refresh import dry_run

    settings, catalog = load_settings_and_catalog()
    tables = requested_tables(catalog, table or [], enabled_tables(settings, catalog))
    weeks = weeks_to_refresh(settings, catalog, table, first, last, force=force)
    planned: list[dry_run.PlannedPeriod] = []
    try:
        with console.status("comparing BigQuery with what was published ..."):
            for period in dry_run.plan(settings, catalog, tables, weeks, force=force):
                planned.append(period)  # noqa: PERF402, what came before an error is kept
    finally:
        # Of a table that cannot be planned, the others' plan is shown first.
        if json:
            typer.echo(plan_as_json(planned))
        elif planned:
            show_plan(console, planned)
