"""Refresh on a machine whose clock is wrong: BigQuery's and Postgres's are what counts."""

import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from sqp_refresh.settings import Settings
from sqp_refresh_tests.faults.outcome import TABLE, assert_published
from sqp_refresh_tests.helpers.nights import queries
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, WEEKS

PROGRAM = "import sys; from sqp_refresh.cli import main; sys.argv[0] = 'sqp-refresh'; main()"


@pytest.fixture(params=["+600s", "-90000s"])
def faketime(request) -> list[str]:
    """A command that begins a process in another time."""
    if shutil.which("faketime") is None:
        pytest.skip("libfaketime is not installed")
    return ["faketime", "-f", request.param]


def test_a_refresh_on_a_machine_with_a_wrong_clock_is_like_any_other(environment, faketime):
    before = datetime.now(UTC)
    weeks = ["--from", str(FIRST), "--to", str(LAST), "--table", TABLE]

    run(faketime, "refresh", *weeks)

    assert_published(WEEKS)
    assert before - timedelta(seconds=2) < the_instant(environment) < datetime.now(UTC)

    run(faketime, "verify", *weeks)


def run(faketime: list[str], *command: str) -> None:
    """Run a command of ours to its end, in another time."""
    done = subprocess.run(
        [*faketime, sys.executable, "-c", PROGRAM, *command, "--json"],
        capture_output=True,
        text=True,
        # A wait has its usual length; only the date is wrong.
        env=os.environ | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def the_instant(environment: Settings) -> datetime:
    """Return the one instant that all queries read the source as of."""
    texts = re.findall(r"SYSTEM_TIME AS OF TIMESTAMP '(.+?)'", "".join(queries(environment)))
    (instant,) = {datetime.fromisoformat(text) for text in texts}
    return instant
