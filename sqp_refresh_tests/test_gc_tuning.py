"""Processes of the package spend little time searching what they have loaded for garbage."""

import subprocess
import sys

import pytest

from sqp_refresh.gc_tuning import COLLECTION_THRESHOLD

PRINT_AT_EXIT = (
    "import atexit, gc\n"
    "def report(): print('at exit', gc.get_threshold()[0], gc.get_freeze_count() > 0)\n"
    "atexit.register(report)\n"
)
COMMAND = "import sys; from sqp_refresh.cli import main; sys.argv[1:] = ['--help']; main()"
CODE_LOCATION = "from sqp_refresh.definitions import defs; defs()"


@pytest.mark.parametrize(("program", "is_frozen"), [(COMMAND, True), (CODE_LOCATION, False)])
def test_garbage_is_searched_rarely_and_not_at_all_when_a_command_ends(program, is_frozen):
    done = subprocess.run(
        [sys.executable, "-c", PRINT_AT_EXIT + program], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"at exit {COLLECTION_THRESHOLD} {is_frozen}"
