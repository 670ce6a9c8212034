"""Provide what several commands share: options, settings, weeks, and the refresh itself."""

import shutil
import uuid
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import date, datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from sqp_refresh.cli.console import Grid
from sqp_refresh.errors import SettingsError
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.extract.source import WantedInstant
from sqp_refresh.model.periods import Period, finished_weeks, weeks_between
from sqp_refresh.model.text import listing, printable
from sqp_refresh.refresh.lookback import default_weeks, periods_outside, weeks_of_periods
from sqp_refresh.refresh.sources import prefetch_versions
from sqp_refresh.registry.catalog import Catalog, read_catalog
from sqp_refresh.settings import Settings


class _Terminal(Console):
    """A terminal that shows the control characters of what it prints, and does not obey them.

    In a terminal, lines break between words. A file or another program gets each message as one
    line, however long.
    """

    def __init__(self, **options: Any) -> None:  # noqa: ANN401, as rich has it
        super().__init__(**options)
        # COLUMNS counts as it is when something is printed, not as it was when this was made.
        self._width = None

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401, as rich has it
        return super().render_str(printable(text), **options)

    @property
    def breaks_lines(self) -> bool:
        """Whether somebody sits before it; COLUMNS may be set for a program that reads lines."""
        return self.file.isatty()

    def print(self, *objects: Any, **options: Any) -> None:  # noqa: ANN401, as rich has it
        """Print, by the width of the terminal if there is one; a grid also by that of COLUMNS."""
        columns = shutil.get_terminal_size((0, 0)).columns
        if objects and all(isinstance(each, str) for each in objects):
            options |= {"width": columns or None, "soft_wrap": not self.breaks_lines}
        elif any(isinstance(each, Grid) for each in objects):
            options |= {"width": columns or _UNLIMITED, "crop": False}
        super().print(*objects, **options)


console = _Terminal()
errors = _Terminal(stderr=True)


def say(message: str, *, err: bool = False) -> None:
    """Print a message as it is, without markup; with `err`, to standard error."""
    (errors if err else console).print(message, markup=False, highlight=False)


def complain(message: str, style: str = "red") -> None:
    """Print a message to standard error, with the name of the program."""
    errors.print(f"sqp-refresh: {message}", style=style, markup=False, highlight=False)


_UNLIMITED = 10_000
"""A width that no line reaches (characters)."""

Tables = Annotated[
    list[str] | None, typer.Option("--table", help="Table, may be repeated; all by default.")
]
EnabledTables = Annotated[
    list[str] | None,
    typer.Option("--table", help="Table, may be repeated; every enabled table by default."),
]
FirstDay = Annotated[
    datetime | None,
    typer.Option("--from", formats=["%Y-%m-%d"], help="Any day of the first week."),
]
LastDay = Annotated[
    datetime | None,
    typer.Option("--to", formats=["%Y-%m-%d"], help="Any day of the last week."),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Copy unchanged weeks too; without --from and --to, every week that was published.",
    ),
]
Accept = Annotated[
    bool,
    typer.Option(
        "--accept", help="Publish weeks of which more has changed than max_delete_ratio allows."
    ),
]
SourceAsOf = Annotated[
    str | None,
    typer.Option(
        help="Read BigQuery as it stood at this instant of the last seven days, with its zone, "
        "and pin the weeks.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def load_settings() -> Settings:
    """Read the settings, and require a migrated database.

    Raises:
        SettingsError: a setting is missing or malformed.
        NotFound: the schema does not exist, or is not at the newest revision.
    """
    from sqp_refresh.postgres.migrate import require_newest_revision

    settings = Settings.read()
    require_newest_revision(settings.database_url)
    return settings


def load_settings_and_catalog() -> tuple[Settings, Catalog]:
    """Read the settings and the tables, and require a migrated database.

    Raises:
        SettingsError: a setting is missing or malformed.
        NotFound: the schema does not exist, or is not at the newest revision.
    """
    settings = load_settings()
    return settings, read_catalog(settings)


def today(settings: Settings) -> date:
    """Return the day by the clock of Postgres, which decides what weeks have ended, in UTC."""
    from sqp_refresh.postgres.session import read_clock

    return read_clock(settings.database_url).date()


def requested_weeks(
    settings: Settings, first: datetime | None, last: datetime | None
) -> list[Period]:
    """Return the weeks from one day to another; the look-back if neither day is given.

    Raises:
        SettingsError: not all of them are finished weeks since REFRESH_START_DATE.
    """
    day = today(settings)
    finished = _ended_weeks(settings, day)
    if first is None and last is None:
        return default_weeks(settings, day)
    start = first.date() if first else finished[0].start
    end = last.date() if last else finished[-1].end
    if start > end and first and last:
        raise SettingsError(
            f"--from {start} is later than --to {end}; exchange them, and choose finished weeks"
        )
    if not finished[0].start <= start <= end <= finished[-1].end:
        raise SettingsError(
            f"weeks from {start} to {end} are not all between {finished[0]} and {finished[-1]}; "
            "choose finished weeks, or set REFRESH_START_DATE"
        )
    return list(weeks_between(start, end))


def _ended_weeks(settings: Settings, day: date) -> list[Period]:
    """Return all weeks since REFRESH_START_DATE that ended before a day.

    Raises:
        SettingsError: there is none.
    """
    weeks = finished_weeks(settings.REFRESH_START_DATE, day)
    if not weeks:
        raise SettingsError(
            f"no week since REFRESH_START_DATE {settings.REFRESH_START_DATE} has ended yet; set it "
            "to an earlier Sunday"
        )
    return weeks


def weeks_to_refresh(
    settings: Settings,
    catalog: Catalog,
    tables: Sequence[str] | None,
    first: datetime | None,
    last: datetime | None,
    *,
    force: bool,
) -> list[Period]:
    """Return the weeks from one day to another; if neither is given, the look-back.

    With `force`, they are all weeks since the oldest that one of the tables has published, and what
    that leaves out is printed.

    Raises:
        SettingsError: not all of them are finished weeks since REFRESH_START_DATE.
    """
    if not force or first or last:
        return requested_weeks(settings, first, last)
    from sqp_refresh.ledger.ledger import published_periods
    from sqp_refresh.postgres.session import connect

    names = requested_tables(catalog, tables or [], enabled_tables(settings, catalog))
    with connect(settings.database_url) as session:
        published = {name: published_periods(session, catalog.table(name)) for name in names}
    every = [period for periods in published.values() for period in periods]
    day = today(settings)
    _ended_weeks(settings, day)
    weeks = weeks_of_periods(settings, every, day)
    for name, periods in published.items():
        if outside := periods_outside(weeks, periods, catalog.table(name).grain):
            say(
                f"{name}: {listing(outside)} left out, which lies before "
                f"REFRESH_START_DATE {settings.REFRESH_START_DATE}",
                err=True,
            )
    return weeks


def enabled_tables(settings: Settings, catalog: Catalog) -> list[str]:
    """Return the names of the enabled tables, parents first."""
    from sqp_refresh.postgres.session import connect
    from sqp_refresh.registry import refresh_config

    with connect(settings.database_url) as session:
        registrations = refresh_config.read_registrations(session)
    return [
        name for name in catalog.tables if name in registrations and registrations[name].is_enabled
    ]


def requested_tables(
    catalog: Catalog, tables: Sequence[str], enabled: Sequence[str]
) -> Sequence[str]:
    """Return the names of the tables to refresh; every enabled one if none is named.

    Raises:
        SettingsError: there is no table of a name, or none is named and none is enabled.
    """
    if tables:
        return [catalog.table(name).name for name in tables]
    if not enabled:
        raise SettingsError("every table is disabled; `sqp-refresh enable --all` to refresh them")
    return enabled


def run_refresh(
    settings: Settings,
    catalog: Catalog,
    weeks: Sequence[Period],
    tables: Sequence[str],
    force: bool,
    json: bool,
    *,
    accept: bool = False,
    source_as_of: WantedInstant | None = None,
) -> bool:
    """Run the job that the schedule runs, show what it did, and return whether all went well.

    Args:
        settings: Where the servers are.
        catalog: All tables.
        weeks: The weeks to refresh; only the first and the last are read.
        tables: Names of the tables to refresh; every enabled table if empty.
        force: Copy unchanged weeks too.
        json: Print JSON, for programs, instead of progress and a table.
        accept: Hold no week back, however much of it has changed.
        source_as_of: The instant that somebody wants BigQuery as of; None is now.
    """
    from sqp_refresh.cli.console import outcome_as_json, show_outcome, show_progress

    names = requested_tables(catalog, tables, enabled_tables(settings, catalog))
    database_url, run_ids = settings.database_url, [str(uuid.uuid4())]
    if not json:
        count = "1 week" if len(weeks) == 1 else f"{len(weeks)} weeks"
        console.print(f"comparing {count} with BigQuery, for {listing(names)} ...")
    with nullcontext() if json else show_progress(console, database_url, run_ids):
        failures = run_job(
            *(settings, catalog, weeks, names, run_ids),
            force=force,
            accept=accept,
            source_as_of=source_as_of,
        )
    if json:
        typer.echo(outcome_as_json(database_url, run_ids, failures))
    else:
        changed = show_outcome(console, database_url, run_ids, names, failures)
        console.print(f"{changed:,} rows changed in weeks {weeks[0]} to {weeks[-1]}")
    return not failures


def run_job(
    settings: Settings,
    catalog: Catalog,
    weeks: Sequence[Period],
    tables: Sequence[str],
    run_ids: list[str],
    *,
    force: bool = False,
    accept: bool = False,
    source_as_of: WantedInstant | None = None,
) -> dict[str, str]:
    """Run the job that the schedule runs, for these tables, and return what failed.

    Args:
        settings: Where the servers are.
        catalog: All tables.
        weeks: The weeks to refresh; only the first and the last are read.
        tables: Names of the tables to refresh.
        run_ids: Holds the id to give the run; the id of a second run is added where there is one.
        force: Copy unchanged weeks too.
        accept: Hold no week back, however much of it has changed.
        source_as_of: The instant that somebody wants BigQuery as of; None is now.
    """
    queries, enabled = RunQueries(), enabled_tables(settings, catalog)
    instant = source_as_of.instant if source_as_of else None
    # Dagster takes seconds to import; BigQuery runs the first query meanwhile.
    to_refresh = [catalog.table(name) for name in tables if name in enabled]
    prefetch_versions(settings, to_refresh, weeks, source_as_of, queries)
    from sqp_refresh.definitions import build_definitions
    from sqp_refresh.defs.in_process_run import run_daily_refresh

    return run_daily_refresh(
        build_definitions(settings, catalog, queries),
        settings,
        catalog,
        weeks,
        tables,
        run_ids,
        as_of=instant or queries.as_of,
        force=force,
        accept=accept,
        source_as_of=instant,
    )
