"""Processes of ours spend no night looking for garbage among what they have loaded."""

import subprocess
import sys

import pytest

from sqp_refresh.gc_tuning import NEW_OBJECTS

AT_THE_END = (
    "import atexit, gc\n"
    "def tell(): print('at the end', gc.get_threshold()[0], gc.get_freeze_count() > 0)\n"
    "atexit.register(tell)\n"
)
A_COMMAND = "import sys; from sqp_refresh.cli import main; sys.argv[1:] = ['--help']; main()"
A_CODE_LOCATION = "from sqp_refresh.definitions import defs; defs()"


@pytest.mark.parametrize(("process", "ends_here"), [(A_COMMAND, True), (A_CODE_LOCATION, False)])
def test_it_is_looked_for_rarely_and_not_at_all_where_a_command_ends(process, ends_here):
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_END + process], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"at the end {NEW_OBJECTS} {ends_here}"
