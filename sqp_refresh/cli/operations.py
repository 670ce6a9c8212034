"""Define the commands that disable, stop and register tables, and that clean up.

Each does what a SQL statement could do as well.
"""

from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from typing import Annotated

import typer

from sqp_refresh.cli.common import load_settings_and_catalog, say
from sqp_refresh.control import checkpoints
from sqp_refresh.control.table_lock import try_lock
from sqp_refresh.errors import Busy, SettingsError
from sqp_refresh.ledger import pins
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Dependency
from sqp_refresh.model.text import listing, printable
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.refresh_config import Changes
from sqp_refresh.registry.sync_params import MOST_ROWS, MOST_WRITERS
from sqp_refresh.schema_name import SCHEMA
from sqp_refresh.settings import Settings

TableArguments = Annotated[list[str] | None, typer.Argument(help=f"Tables of schema {SCHEMA}.")]
MOST_HOURS = 876_000
MOST_WEEKS = 5_000
All = Annotated[bool, typer.Option("--all", help="Every registered table.")]


def disable(tables: TableArguments = None, all_: All = False) -> None:
    """Start no new refresh of tables; a running refresh stops at its next week."""
    _set_enabled(tables, all_, enabled=False)


def enable(tables: TableArguments = None, all_: All = False) -> None:
    """Allow tables to be refreshed again."""
    _set_enabled(tables, all_, enabled=True)


def stop(tables: TableArguments = None, all_: All = False) -> None:
    """Stop running refreshes at their next week, cleanly; later refreshes start as usual.

    With --all, the runs at work begin no other table, either.
    """
    with connect(Settings.read().database_url) as session, session.transaction():
        names = _table_names(session, tables, all_)
        stopped = checkpoints.stop(session, names, whole_runs=all_)
    names = printable(", ".join(stopped))
    say(f"stopping {names}" if names else "nothing is being refreshed")


def configure(
    table: Annotated[str, typer.Argument(help=f"Table of schema {SCHEMA}.")],
    priority: Annotated[
        int | None,
        typer.Option(help="A higher priority is refreshed first.", min=-(2**31), max=2**31 - 1),
    ] = None,
    every: Annotated[
        int | None,
        typer.Option(metavar="HOURS", help="Hours between two refreshes.", min=1, max=MOST_HOURS),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows per Arrow batch.", min=1, max=MOST_ROWS)
    ] = None,
    lookback_weeks: Annotated[
        int | None, typer.Option(help="Weeks that every night looks at.", min=1, max=MOST_WEEKS)
    ] = None,
    writers: Annotated[
        int | None, typer.Option(help="Weeks published at the same time.", min=1, max=MOST_WRITERS)
    ] = None,
    max_delete_ratio: Annotated[
        float | None,
        typer.Option(help="Part of a week that may change before it is held back.", min=0, max=1),
    ] = None,
    threshold: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=MIN:MAX",
            help="Limits of a quality metric, either of which may be left out; may be repeated.",
        ),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARAMETER", help="Parameter that follows the setting again; may be repeated."
        ),
    ] = None,
) -> None:
    """Change a table's priority, frequency and parameters, from its next run on; or show them."""
    params = {
        "batch_size": batch_size,
        "lookback_weeks": lookback_weeks,
        "writers": writers,
        "max_delete_ratio": max_delete_ratio,
    }
    known = [*params, "quality"]
    if unknown := [name for name in unset or () if name not in known]:
        raise SettingsError(f"--unset knows no {unknown[0]!r}; choose from {', '.join(known)}")
    changes = Changes(
        {name: value for name, value in params.items() if value is not None},
        _thresholds(threshold or ()),
        unset or (),
        priority,
        every,
    )
    with connect(Settings.read().database_url) as session, session.transaction():
        registration = refresh_config.configure(session, table, changes)
    parts = [f"priority {registration.priority}", f"every {registration.frequency_hours} hours"]
    parts += [f"{name} {value}" for name, value in (registration.custom_sync_params or {}).items()]
    typer.echo(printable(f"{table}: {', '.join(parts)}"))


def _thresholds(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Read limits of quality metrics, as METRIC=MIN:MAX, by metric."""
    from sqp_refresh.checks.metrics import with_thresholds
    from sqp_refresh.registry.sync_params import Threshold

    limits: dict[str, dict[str, float]] = {}
    for text in texts:
        metric, _, bounds = text.partition("=")
        minimum, colon, maximum = bounds.partition(":")
        try:
            limits[metric] = {
                name: float(bound) for name, bound in (("min", minimum), ("max", maximum)) if bound
            }
        except ValueError:
            limits[metric] = {}
        if not colon or not limits[metric] or not all(map(isfinite, limits[metric].values())):
            raise SettingsError(
                f"--threshold {text!r} must be METRIC=MIN:MAX, e.g. volume_ratio=0.3:3"
            )
    with_thresholds([], {metric: Threshold(**bounds) for metric, bounds in limits.items()})
    return limits


def unpin(
    table: Annotated[str, typer.Argument(help=f"Table of schema {SCHEMA}.")],
    week: Annotated[
        list[datetime] | None,
        typer.Option(
            formats=["%Y-%m-%d"], help="Any day of a pinned week or period, may be repeated."
        ),
    ] = None,
) -> None:
    """Let pinned weeks go, all by default; the next refresh loads what their source says."""
    settings, catalog = load_settings_and_catalog()
    registered = catalog.table(table)
    periods = [Period.containing(day.date(), registered.grain) for day in week or ()]
    with connect(settings.database_url) as session, session.transaction():
        unpinned = pins.unpin(session, registered, periods or None)
        missing = [str(period) for period in periods if period.start not in unpinned]
        if missing:
            raise SettingsError(
                f"{listing(missing)} of {table} is not pinned, so that nothing was unpinned; "
                "`sqp-refresh status` lists what is"
            )
    if not unpinned:
        say(f"nothing of {printable(table)} is pinned")
    for day in unpinned:
        period = Period.containing(day, registered.grain)
        what = f"{printable(table)} {period}"
        say(f"unpinned {what}: the next refresh loads what its source says")


def register(
    table: Annotated[str, typer.Argument(help=f"Table of schema {SCHEMA}; it must exist already.")],
    source: Annotated[
        str | None,
        typer.Option(help="BigQuery table: table, dataset.table or project.dataset.table."),
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Column of its primary key, may be repeated.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="TITLE=COLUMN: a column in BigQuery, and its name here, may be repeated."
        ),
    ] = None,
    week_column: Annotated[
        str | None,
        typer.Option(help="TITLE of the date that decides a row's week; else it is read whole."),
    ] = None,
    after: Annotated[
        list[str] | None,
        typer.Option(help="Table that must be refreshed before it, may be repeated."),
    ] = None,
    soft_after: Annotated[
        list[str] | None,
        typer.Option(help="The same, but it is refreshed even if that table fails."),
    ] = None,
    priority: Annotated[int, typer.Option(help="A higher priority is refreshed first.")] = 50,
) -> None:
    """Register a table; without --source it stays disabled."""
    from sqp_refresh.registry.registration import check_registration
    from sqp_refresh.registry.registration import register as enter

    settings = Settings.read()
    parents = dict.fromkeys(after or [], Dependency.HARD)
    parents |= dict.fromkeys(soft_after or [], Dependency.SOFT)
    with connect(settings.database_url) as session:
        params = check_registration(
            settings, session, table, source, key or [], _column_map(column or []), week_column
        )
        enabled = source is not None
        with session.transaction():
            enter(session, table, params, enabled=enabled, priority=priority, parents=parents)
    state = "becomes an asset when the code location is next loaded" if enabled else "is disabled"
    say(f"{SCHEMA}.{printable(table)} is registered and {state}")


def unregister(
    table: Annotated[str, typer.Argument(help=f"Table of schema {SCHEMA} that was registered.")],
) -> None:
    """Refresh a registered table no more; the table stays, with its rows."""
    from sqp_refresh.registry.registration import unregister as remove

    with connect(Settings.read().database_url) as session, session.transaction():
        if not try_lock(session, table):
            raise Busy(
                f"{table} is being refreshed; wait, or end that by `sqp-refresh stop {table}`"
            )
        remove(session, table)
    say(
        f"{SCHEMA}.{printable(table)} is not registered any more, and has its rows; its asset goes "
        "when the code location is next loaded"
    )


def maintain() -> None:
    """Close, archive and delete old records, and build lacking indexes, as the schedules do."""
    from sqp_refresh.control import maintenance

    settings = Settings.read()
    with connect(settings.database_url) as session:
        rows_by_task = maintenance.maintain(session, settings)
    built = rows_by_task.pop("indexes_built", 0)
    rows_by_task |= _maintain_dagster(settings)
    for task, rows in rows_by_task.items():
        say(f"{rows:,} {task.replace('_', ' ')}")
    if built:
        say(f"{built} indexes built that a first load left out")


def _maintain_dagster(settings: Settings) -> dict[str, int]:
    """Delete old runs of Dagster, where DAGSTER_HOME says where they are."""
    from sqp_refresh.defs.instance_storage import has_home, open_instance
    from sqp_refresh.defs.jobs.maintenance_job import DAGSTER_RUNS
    from sqp_refresh.defs.jobs.old_runs import delete_old_runs

    if not has_home():
        return {}
    with open_instance() as instance:
        return {DAGSTER_RUNS: delete_old_runs(instance, settings)}


def _set_enabled(tables: Sequence[str] | None, all_: bool, *, enabled: bool) -> None:
    with connect(Settings.read().database_url) as session, session.transaction():
        names = _table_names(session, tables, all_)
        changed = refresh_config.set_enabled(session, names, enabled=enabled)
    state = "enabled" if enabled else "disabled"
    names = printable(", ".join(changed))
    say(f"{state} {names}" if names else f"already {state}")


def _table_names(session: Session, tables: Sequence[str] | None, all_: bool) -> list[str]:
    registrations = refresh_config.read_registrations(session)
    if all_ == bool(tables):
        raise SettingsError("name one or more tables, or all of them with --all")
    for table in tables or ():
        if table not in registrations:
            raise SettingsError(
                f"there is no table {table!r} in {SCHEMA}.refresh_config; choose from "
                f"{', '.join(registrations)}"
            )
    return list(registrations) if all_ else list(tables or ())


def _column_map(columns: Sequence[str]) -> dict[str, str]:
    for column in columns:
        if "=" not in column:
            raise SettingsError(f"--column {column!r} must be TITLE=COLUMN")
    return dict(column.rsplit("=", 1) for column in columns)
