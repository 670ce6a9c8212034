"""Run the command `sqp-refresh`, and read what it prints."""

from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from subprocess import CompletedProcess

import pytest

from sqp_refresh.cli import main


def sqp_refresh(*arguments: str) -> CompletedProcess[str]:
    """Run the command in this process: a process of its own would take seconds to start."""
    out, err, code = StringIO(), StringIO(), 0
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patched:
        patched.setattr("sys.argv", ["sqp-refresh", *arguments])
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    assert isinstance(code, int)
    return CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def output(*arguments: str) -> str:
    """Run the command, which must succeed, and return what it prints."""
    done = sqp_refresh(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def one_line(done: CompletedProcess[str]) -> str:
    """Return the only line that a failed command prints; a traceback is an error."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line
