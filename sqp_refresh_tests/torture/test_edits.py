"""Run the short form of `make edits`: a few weeks, edited at random moments of two refreshes."""

import random
from contextlib import ExitStack
from urllib.parse import urlsplit

import pyarrow as pa
import pytest

from sqp_refresh.demo.year import SUNDAYS, week_of_rows
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.torture.dataset import rows_of
from sqp_refresh_tests.torture.edited import EditedRack, states
from sqp_refresh_tests.torture.rack import Rack

WEEKS = SUNDAYS[:6]
ASINS = 2
REFRESHES = 2


@pytest.mark.timeout(200)
def test_no_edit_by_somebody_else_during_a_refresh_outlives_the_next_one(
    environment, emulator, dataset, postgres_url, migrated_database
):
    delivered = rows_of(pa.concat_tables(map(week_of_rows, WEEKS)), ASINS)
    earlier, later = states(delivered.to_pylist(), WEEKS)
    for name, rows in {"earlier": earlier, "later": later}.items():
        SourceTable(emulator, dataset, name).write(rows)
    template = urlsplit(migrated_database).path.removeprefix("/")
    rack = EditedRack(
        Rack(postgres_url, template, WEEKS[0], WEEKS[-1]),
        environment.model_copy(update={"BIGQUERY_SOURCE_TABLE": "earlier"}),
        environment.model_copy(update={"BIGQUERY_SOURCE_TABLE": "later"}),
    )
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)

    with ExitStack() as kept:
        rack.prepare(kept, later)
        for _ in range(REFRESHES):
            try:
                done = rack.survive(chance, edits=40)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}: {error}") from error
            assert done["filled tables"] + done["derived tables"] > 5
