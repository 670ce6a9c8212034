"""Define the command that shows four nights, with servers that it starts itself."""

import shlex
import shutil
import signal
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sqp_refresh.cli.common import console, enabled_tables, run_job, run_refresh
from sqp_refresh.cli.console import read_outcomes, show_outcome
from sqp_refresh.cli.quality import stretches_to_replay
from sqp_refresh.control import quarantine
from sqp_refresh.errors import SettingsError
from sqp_refresh.model.periods import Period
from sqp_refresh.postgres.session import connect, read_clock
from sqp_refresh.refresh.lookback import default_weeks
from sqp_refresh.registry.catalog import Catalog, read_catalog
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from sqp_refresh.demo.environment import Demo

DIRECTORY = Path(".demo")


def demo(
    directory: Annotated[
        Path, typer.Option("--dir", help="Directory for the data of the demo's servers.")
    ] = DIRECTORY,
    short: Annotated[bool, typer.Option("--short", help="Stop after the first load.")] = False,
    serve: Annotated[
        bool, typer.Option("--serve", help="Only hold the servers up, for --env; Ctrl-C ends it.")
    ] = False,
    env: Annotated[
        bool, typer.Option("--env", help="Print what points a shell at servers that are held up.")
    ] = False,
    ui: Annotated[
        bool, typer.Option("--ui", help="Serve the Dagster UI on loopback with the demo's data.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the UI.")] = 3000,
) -> None:
    """Show four nights of a realistic year, with a BigQuery and a Postgres of its own.

    The year ends with the newest week that a vendor would have delivered by today. A demo that is
    shown again starts over, but with --short, which keeps what is there as long as it is new.
    """
    from sqp_refresh.demo.environment import Year, demo_environment, read_environment

    if sum((short, serve, env, ui)) > 1:
        raise SettingsError("choose one of --short, --serve, --env and --ui")
    if env:
        typer.echo(read_environment(directory), nl=False)
    elif serve or ui:
        _hold(directory, port if ui else None)
    else:
        year = Year.OF_TODAY if short else Year.BEFORE_ITS_LAST_NIGHTS
        with demo_environment(console, directory, year) as running:
            story = Story(running, read_catalog(running.settings))
            story.tell_first_load()
            if not short:
                story.tell_the_nights_after()
            _draw_dashboard(running.settings)
        _tell_what_next(directory, running.settings.dashboard_path)


def _hold(directory: Path, port: int | None) -> None:
    """Hold the servers up until Ctrl-C, with the Dagster UI on a port where one is given."""
    from sqp_refresh.demo.environment import Year, demo_environment, require_free_port, serve_ui

    if port is not None:
        require_free_port(port)
    with demo_environment(console, directory, Year.KEPT):
        console.print("To point a shell at these servers, in another terminal:")
        console.print(f"  {_env_command(directory)}", markup=False, soft_wrap=True)
        if port is not None:
            serve_ui(console, directory, port)
            return
        console.print("Ctrl-C ends them")
        try:
            signal.pause()
        except KeyboardInterrupt:
            console.print("stopping ...")


@dataclass(frozen=True, slots=True)
class Story:
    """What happens in the demo, night by night.

    Attributes:
        demo: The servers.
        catalog: All tables.
    """

    demo: "Demo"
    catalog: Catalog

    def tell_first_load(self) -> None:
        """Refresh the whole year, and show what that did to each table."""
        settings, weeks = self.demo.settings, self.demo.vendor.weeks
        _print(f"Night 1: the first load, of weeks {weeks[0]} to {weeks[-1]}")
        if not run_refresh(settings, self.catalog, weeks, [], force=False, json=False):
            raise typer.Exit(1)

    def tell_the_nights_after(self) -> None:
        """Let the vendor do what vendors do, and show what each night makes of it."""
        vendor = self.demo.vendor
        changed = self._refresh_lookback()
        _print("Night 2: nothing new from the vendor", f"{changed:,} rows changed")

        vendor.deliver_late_week()
        vendor.restate_week()
        changed, refused = self._refresh_lookback(), self._count_refused()
        _print(
            f"Night 3: a late week, a restated one, {refused} bad rows",
            f"{vendor.late} came, {vendor.restated} changed: {changed:,} rows changed",
        )

        vendor.correct_late_week()
        replayed, changed = self._replay(), self._refresh_lookback()
        _print(
            f"Night 4: {refused} rows corrected, and `quarantine replay`",
            f"{replayed:,} rows changed by the replay, {changed:,} by the night; "
            f"{self._count_refused()} wait",
        )

    def _refresh_lookback(self) -> int:
        """Refresh as the schedule does, and return how many rows changed."""
        settings = self.demo.settings
        weeks = default_weeks(settings, read_clock(settings.database_url).date())
        return self._run(weeks, enabled_tables(settings, self.catalog))

    def _replay(self) -> int:
        settings = self.demo.settings
        with connect(settings.database_url) as session:
            waiting = quarantine.count_waiting(session, self.catalog.tables)
        replays = stretches_to_replay(waiting, settings, self.catalog)
        return sum(self._run(weeks, tables, force=True) for weeks, tables in replays)

    def _run(self, weeks: Sequence[Period], tables: Sequence[str], *, force: bool = False) -> int:
        """Run the job, without a table of what it did, and return how many rows changed."""
        settings, run_ids = self.demo.settings, [str(uuid.uuid4())]
        with console.status("refreshing ..."):
            failures = run_job(settings, self.catalog, weeks, tables, run_ids, force=force)
        if failures:
            show_outcome(console, settings.database_url, run_ids, tables, failures)
            raise typer.Exit(1)
        return sum(row.changed for row in read_outcomes(settings.database_url, run_ids))

    def _count_refused(self) -> int:
        with connect(self.demo.settings.database_url) as session:
            return sum(quarantine.count_waiting(session, self.catalog.tables).values())


def _print(title: str, *details: str) -> None:
    console.print(f"[bold]{title}[/]", highlight=False)
    for line in details:
        console.print(f"  {line}", highlight=False)


def _draw_dashboard(settings: Settings) -> None:
    from sqp_refresh.monitoring.dashboard.drawing import draw

    with console.status("drawing the dashboard ..."):
        draw(settings.database_url, settings.dashboard_path, read_clock(settings.database_url))


def _tell_what_next(directory: Path, dashboard: Path) -> None:
    is_clone = directory == DIRECTORY and Path("Makefile").exists()
    ui = "make ui" if is_clone else _command("demo --ui", directory)
    _print("What next")
    for what, command in (
        ("the dashboard, in a browser", str(dashboard)),
        ("the Dagster UI, on http://127.0.0.1:3000", ui),
        ("hold the servers up", _command("demo --serve", directory)),
        ("and work with them, in another terminal", _env_command(directory)),
        ("... for example", _command("status", DIRECTORY)),
    ):
        console.print(f"  {what}", highlight=False)
        console.print(f"    {command}", markup=False, highlight=False, soft_wrap=True)


def _env_command(directory: Path) -> str:
    return f'eval "$({_command("demo --env", directory)})"'


def _command(words: str, directory: Path) -> str:
    """Return a command as it works here: where none is on the path, the file that now runs."""
    name = "sqp-refresh"
    program = name if shutil.which(name) else shlex.quote(sys.argv[0])
    return f"{program} {words}" + (
        f" --dir {shlex.quote(str(directory))}" if directory != DIRECTORY else ""
    )
