"""Run the short form of `make torture`: a few weeks, killed at a few random moments."""

import random
from urllib.parse import urlsplit

import polars as pl
import pytest

from sqp_refresh.demo.year import SUNDAYS, week_of_rows
from sqp_refresh_tests.torture.rack import Rack
from sqp_refresh_tests.torture.rollbacks import RollbackRack

WEEKS = SUNDAYS[:4]
ASINS = 3
KILLS = 3


@pytest.mark.timeout(400)
def test_one_more_run_makes_everything_right_after_a_kill(
    environment, source, postgres_url, migrated_database
):
    weeks = [pl.DataFrame(pl.from_arrow(week_of_rows(sunday))) for sunday in WEEKS]
    few = pl.concat(weeks).filter(pl.col("Child ASIN").rank("dense") <= ASINS)
    source.write(few.to_arrow().cast(week_of_rows(WEEKS[0]).schema))
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    template = urlsplit(migrated_database).path.removeprefix("/")
    rack = Rack(postgres_url, template, WEEKS[0], WEEKS[-1])
    rack.measure(few.to_dicts())

    survived = 0
    while survived < KILLS:
        kill = rack.choose(chance)
        try:
            # None where the refresh was over before it could be killed.
            survived += rack.survive(kill) is not None
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, killed at {kill}: {error}") from error


@pytest.mark.timeout(200)
def test_a_killed_rollback_leaves_each_week_as_before_or_as_asked(postgres_url, migrated_database):
    rack = RollbackRack.of(postgres_url, migrated_database, WEEKS[0], 2, 3)
    seed = random.SystemRandom().randrange(10**6)
    kill = rack.choose(random.Random(seed))
    try:
        rack.survive(kill)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}, killed at {kill}: {error}") from error
