"""Edit the tables many times while they are refreshed, with servers of its own (`make edits`)."""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import pyarrow as pa
import typer
from rich.console import Console

from sqp_refresh.demo.servers import embedded_bigquery, embedded_postgres
from sqp_refresh.demo.year import SUNDAYS, week_of_rows
from sqp_refresh.postgres import migrate
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.servers import builds
from sqp_refresh_tests.torture.dataset import DATASET, rows_of, use_dataset
from sqp_refresh_tests.torture.edited import EditedRack, states
from sqp_refresh_tests.torture.rack import Rack

WEEKS = SUNDAYS[:7]
ASINS = 6
AT_ONCE = 30
"""Edits that are tried during one refresh (count); some find no row, or one that is locked."""
console = Console()


def main(
    edits: Annotated[int, typer.Option(help="How many edits there have to be.")] = 300,
    seed: Annotated[int | None, typer.Option(help="That of an earlier run repeats it.")] = None,
    postgres: Annotated[int, typer.Option(help="Version of the server: 14 to 18.")] = 18,
) -> None:
    """Refresh while somebody else edits; one more refresh has to mend every edit."""
    seed = random.SystemRandom().randrange(10**6) if seed is None else seed
    console.print(f"Postgres {postgres}, seed {seed}: `make edits SEED={seed}` repeats it")
    chance, done, began = random.Random(seed), Counter[str](), time.monotonic()
    with edited_rack(postgres) as rack:
        while edits_of(done) < edits:
            try:
                done += (now := rack.survive(chance, AT_ONCE))
                console.print(f"{edits_of(done):4} edits: {', '.join(now)}")
            except AssertionError as error:
                console.print(str(error), style="red", markup=False)
                raise typer.Exit(1) from None
    for name, count in sorted(done.items()):
        console.print(f"{count:5,}  {name}")
    minutes = (time.monotonic() - began) / 60
    console.print(f"{edits_of(done)} edits, none of which stayed, in {minutes:.1f} minutes")


def edits_of(done: Counter[str]) -> int:
    """Return how many edits were committed, in tables of either kind."""
    return done["filled tables"] + done["derived tables"]


@contextmanager
def edited_rack(postgres: int) -> Iterator[EditedRack]:
    """Start both servers, write both states of the source, and load the earlier one."""
    with ExitStack() as kept:
        directory = kept.enter_context(tempfile.TemporaryDirectory(prefix="sqp_refresh_"))
        builds.enable(postgres)
        server = kept.enter_context(
            embedded_postgres(Path(directory, "postgres"), version=postgres)
        )
        emulator = kept.enter_context(embedded_bigquery(project="torture-project"))
        use_dataset(emulator)
        delivered = rows_of(pa.concat_tables(map(week_of_rows, WEEKS)), ASINS)
        earlier, later = states(delivered.to_pylist(), WEEKS)
        for name, rows in {"earlier": earlier, "later": later}.items():
            SourceTable(emulator, DATASET, name).write(rows)
        rack = Rack(server, "template0", WEEKS[0], WEEKS[-1])
        migrated = kept.enter_context(rack.database())
        migrate.upgrade(migrated)
        rack.template = urlsplit(migrated).path.removeprefix("/")
        settings = Settings.read()
        edited = EditedRack(
            rack,
            settings.model_copy(update={"BIGQUERY_SOURCE_TABLE": "earlier"}),
            settings.model_copy(update={"BIGQUERY_SOURCE_TABLE": "later"}),
        )
        edited.prepare(kept, later)
        yield edited


if __name__ == "__main__":
    typer.run(main)
