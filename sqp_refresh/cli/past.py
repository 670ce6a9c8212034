"""Define the commands about what tables held before: what was restated, and the way back."""

import json as json_format
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sqp_refresh.cli.common import Json, Tables, complain, console, load_settings_and_catalog
from sqp_refresh.errors import RefreshError, SettingsError
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.schema_name import SCHEMA
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from sqp_refresh.refresh.rollback import ChangedPeriod, Rollback


def restatements(
    table: Tables = None,
    week: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Any day of a week or period; all by default."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=["%Y-%m-%d"], help="Only what was restated on this day or later."),
    ] = None,
    json: Json = False,
) -> None:
    """Show which published weeks were restated, how often, and what became of their sums."""
    from sqp_refresh.monitoring.restatements import as_json, read_restatements

    settings, catalog = load_settings_and_catalog()
    names = [catalog.table(name).name for name in table] if table else None
    with connect(settings.database_url) as session:
        restated = read_restatements(
            session, names, week.date() if week else None, since.date() if since else None
        )
    if json:
        runs = [as_json(run) for period in restated for run in period.runs]
        typer.echo(json_format.dumps(runs, indent=2, default=str))
        return
    if not restated:
        console.print("nothing was restated")
    for period in restated:
        console.print(f"{period.table}: {period}", markup=False, soft_wrap=True, highlight=False)


def rollback(
    table: Annotated[str, typer.Argument(help=f"Table of schema {SCHEMA}.")],
    week: Annotated[
        list[datetime] | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="Any day of a week or period, may be repeated; all that changed since by default.",
        ),
    ] = None,
    to_run: Annotated[
        str | None,
        typer.Option("--to-run", metavar="RUN", help="As this run left it: its number, or run id."),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="INSTANT", help="As it was then: 2026-01-31T02:00Z."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change; write nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    json: Json = False,
) -> None:
    """Publish weeks as they were, and pin them; the tables made from them are refreshed.

    Exit status 1 if the history does not reach back, or if something could not be published.
    """
    from sqp_refresh.refresh.rollback import plan_rollback, preview

    settings, catalog = load_settings_and_catalog()
    chosen = catalog.table(table)
    with connect(settings.database_url) as session:
        at = _instant(session, chosen, to_run, to)
        weeks = None if week is None else _periods(chosen, week)
        with session.transaction():
            rollback = plan_rollback(session, chosen, at, weeks)
        with session.transaction():
            changes = list(preview(session, rollback))
    if not json:
        _print_plan(rollback, changes)
    if dry_run or not changes:
        _finish(_Done(rollback, changes), json=json)
        return
    if not yes:
        typer.confirm("Go on?", abort=True, err=json)
    _finish(_roll_back(settings, catalog, rollback), json=json)


@dataclass
class _Done:
    """What a rollback did, or would do.

    Attributes:
        rollback: What was asked for.
        changes: What it did to each period.
        audit_log_id: Its row in sqp.refresh_audit_log; None where nothing was written.
        derived: How many rows changed in each table that is made from it (count).
        errors: What went wrong, by table.
    """

    rollback: "Rollback"
    changes: "Sequence[ChangedPeriod]" = ()
    audit_log_id: int | None = None
    derived: dict[str, int] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> Mapping[str, Any]:
        """Return it for programs."""
        return {
            "table": self.rollback.table.name,
            "to": self.rollback.at.isoformat(),
            "audit_log_id": self.audit_log_id,
            "periods": [
                {
                    "period": str(change.period),
                    "inserted": change.inserted,
                    "updated": change.updated,
                    "deleted": change.deleted,
                }
                for change in self.changes
            ],
            "left": list(map(str, self.rollback.left)),
            "derived": self.derived,
            "errors": self.errors,
        }


def _instant(session: Session, table: Table, run: str | None, instant: str | None) -> datetime:
    """Return the instant that is asked for, in one of two ways."""
    from sqp_refresh.refresh.rollback import instant_of_run

    if run is not None and instant is None:
        return instant_of_run(session, table, run)
    if instant is None or run is not None:
        raise SettingsError("name what to go back to: either --to-run RUN or --to INSTANT")
    try:
        at = datetime.fromisoformat(instant)
    except ValueError:
        raise SettingsError(
            f"--to {instant!r} is no instant; write it as 2026-01-31T02:00Z"
        ) from None
    at = at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
    if at > session.now():
        raise SettingsError(f"--to {instant} lies in the future; choose an earlier instant")
    return at


def _periods(table: Table, days: Sequence[datetime]) -> list[Period]:
    return sorted({Period.containing(day.date(), table.grain) for day in days})


def _roll_back(settings: Settings, catalog: Catalog, rollback: "Rollback") -> _Done:
    from sqp_refresh.control.materialized_views import refresh_materialized_views
    from sqp_refresh.refresh.rollback import (
        ChangedPeriod,
        derived_sources,
        refresh_derived,
        roll_back,
    )

    url, keeps_history = settings.database_url, settings.REFRESH_KEEP_HISTORY_DAYS > 0
    result = roll_back(url, rollback, keeps_history=keeps_history)
    changes = [
        ChangedPeriod(period, counts.inserted, counts.updated, counts.deleted)
        for period, counts in result.periods.items()
    ]
    done, audit_log_ids = _Done(rollback, changes, result.audit_log_id), [str(result.audit_log_id)]
    with connect(url) as session:
        sources = derived_sources(session, catalog, rollback)
    for source in sources:
        try:
            derived = refresh_derived(url, source, keeps_history=keeps_history)
        except RefreshError as error:
            done.errors[source.table.name] = str(error)
        else:
            done.derived[source.table.name] = derived.counts.changed
            audit_log_ids.append(str(derived.audit_log_id))
    for outcome in refresh_materialized_views(settings, audit_log_ids[0], audit_log_ids[1:]):
        if outcome.warning:
            typer.secho(str(outcome), err=True, fg=typer.colors.YELLOW)
    return done


def _print_plan(rollback: "Rollback", changes: "Sequence[ChangedPeriod]") -> None:
    at = f"{rollback.at:%Y-%m-%d %H:%M:%S} UTC"
    if not changes:
        console.print(f"no published period of {rollback.table.name} has changed since {at}")
    for change in changes:
        console.print(
            f"{rollback.table.name} {change.period} as of {at}: {change.inserted:,} rows to insert,"
            f" {change.updated:,} to update, {change.deleted:,} to delete",
            markup=False,
            soft_wrap=True,
            highlight=False,
        )
    if rollback.left:
        line = f"{listing(rollback.left)}: first published later, left as it is"
        console.print(line, style="yellow", soft_wrap=True)


def _finish(done: _Done, *, json: bool) -> None:
    """Show what was done, and end with status 1 if something went wrong."""
    if json:
        typer.echo(json_format.dumps(done.as_json(), indent=2))
    elif done.audit_log_id is not None:
        weeks = listing([change.period for change in done.changes])
        console.print(
            f"{done.rollback.table.name}: {weeks} published as it was, and pinned; "
            f"`sqp-refresh unpin {done.rollback.table.name}` lets it go",
            markup=False,
            soft_wrap=True,
            highlight=False,
        )
        for name, rows in done.derived.items():
            console.print(f"{name}: {rows:,} rows changed", highlight=False)
    for name, error in done.errors.items():
        complain(f"{name}: {error}")
    if done.errors:
        raise typer.Exit(1)
