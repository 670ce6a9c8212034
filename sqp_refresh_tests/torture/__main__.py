"""Kill a refresh of a year many times, with servers of its own (`make torture`)."""

import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from sqp_refresh.demo.servers import embedded_bigquery, embedded_postgres
from sqp_refresh.demo.year import SUNDAYS, year_of_rows
from sqp_refresh.postgres import migrate
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.torture.dataset import DATASET, rows_of, use_dataset
from sqp_refresh_tests.torture.rack import Kill, Rack, Survival
from sqp_refresh_tests.torture.rollbacks import RollbackRack

console = Console()

ROLLBACKS = 5
"""One rollback is killed for so many refreshes."""


def main(
    kills: Annotated[int, typer.Option(help="How often to kill.")] = 50,
    seed: Annotated[int | None, typer.Option(help="That of an earlier run repeats it.")] = None,
    asins: Annotated[int, typer.Option(help="How many of the year's 85 ASINs.")] = 10,
    minutes: Annotated[int, typer.Option(help="Start no further kill after so many.")] = 45,
) -> None:
    """Kill a refresh of 52 weeks again and again; one more run has to make everything right."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    console.print(f"seed {seed}: `make torture SEED={seed}` repeats these moments")
    chance = random.Random(seed)
    began = time.monotonic()
    with racked(asins) as rack:
        console.print(f"undisturbed, {len(SUNDAYS)} weeks take {rack.seconds:.0f} s")
        survived: dict[str, list[Survival]] = defaultdict(list)
        done = 0
        while done < kills and time.monotonic() - began < 60 * minutes:
            kill = rack.choose(chance)
            survival = _survive(rack, kill)
            if survival is None:
                continue  # it had ended before it was to be killed
            done += 1
            survived[kill.moment].append(survival)
            console.print(
                f"{done:3} of {kills}  {kill!s:26} {survival.before:3} periods published before,"
                f" {survival.after:3} after"
            )
        _kill_rollbacks(rack, chance, kills // ROLLBACKS)
    _print_summary(survived, time.monotonic() - began)
    if done < kills:
        console.print(f"only {done} of {kills} kills in {minutes} minutes", style="red")
        raise typer.Exit(1)


def _kill_rollbacks(rack: Rack, chance: random.Random, kills: int) -> None:
    """Kill a rollback of twenty weeks at so many moments."""
    with rack.database() as url:
        rollbacks = RollbackRack.of(rack.server, url, SUNDAYS[0], 20, 50)
        done = 0
        while done < kills:
            kill = rollbacks.choose(chance)
            try:
                published = rollbacks.survive(kill)
            except AssertionError as error:
                console.print(f"rollback killed at {kill}: {error}", style="red", markup=False)
                raise typer.Exit(1) from None
            if published is not None:
                done += 1
                console.print(
                    f"{done:3} of {kills}  rollback, {kill!s:16} {published:3} weeks as asked, all "
                    "others as before; all as asked after one more"
                )


def _survive(rack: Rack, kill: Kill) -> Survival | None:
    try:
        return rack.survive(kill)
    except AssertionError as error:
        console.print(f"killed at {kill}: {error}", style="red", markup=False)
        raise typer.Exit(1) from None


@contextmanager
def racked(asins: int) -> Iterator[Rack]:
    """Start both servers, write the year of so many ASINs, and refresh it as the reference."""
    with (
        tempfile.TemporaryDirectory(prefix="sqp_refresh_") as directory,
        embedded_postgres(Path(directory, "postgres")) as server,
        embedded_bigquery(project="torture-project") as emulator,
    ):
        use_dataset(emulator)
        delivered = rows_of(year_of_rows(), asins)
        name = Settings.model_fields["BIGQUERY_SOURCE_TABLE"].default
        SourceTable(emulator, DATASET, name).write(delivered)
        rack = Rack(server, "template0", SUNDAYS[0], SUNDAYS[-1])
        with rack.database() as url:
            migrate.upgrade(url)
            rack.template = urlsplit(url).path.removeprefix("/")
            rack.measure(delivered.to_pylist())
            yield rack


def _print_summary(survived: dict[str, list[Survival]], seconds: float) -> None:
    summary = Table(title="Killed, and run once more: every table equal, no period copied twice")
    for column in ("killed in", "times", "published before", "published after"):
        summary.add_column(column, justify="left" if column == "killed in" else "right")
    for moment, outcomes in sorted(survived.items()):
        summary.add_row(
            moment,
            str(len(outcomes)),
            f"{sum(survival.before for survival in outcomes):,}",
            f"{sum(survival.after for survival in outcomes):,}",
        )
    console.print(summary)
    console.print(f"{sum(map(len, survived.values()))} kills in {seconds / 60:.1f} minutes")


if __name__ == "__main__":
    typer.run(main)
