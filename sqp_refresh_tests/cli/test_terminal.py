"""Every command reads well in a narrow terminal, without colours, and in a pipe."""

import os
import re
import subprocess
import sys
from io import StringIO

import pytest
from rich.console import Console
from typer.main import get_command

from sqp_refresh.cli import app
from sqp_refresh.cli.console import Grid
from sqp_refresh_tests.helpers.commands import sqp_refresh
from sqp_refresh_tests.helpers.database import execute
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, three_weeks

NARROW = 60
QUERIES = "search_query_performance"
WEEKS = ("--from", str(FIRST), "--to", str(LAST))
COMMANDS = (
    *(("plan", *WEEKS), ("refresh", "--due"), ("check", "--table", QUERIES), ("status",)),
    *(("verify", "--table", QUERIES), ("doctor",), ("history", QUERIES), ("restatements",)),
    *(("quarantine", "list"), ("quarantine", "show", "1"), ("quarantine", "replay")),
    *(("alerts", "list"), ("alerts", "retry"), ("unpin", QUERIES), ("rollback", QUERIES, *WEEKS)),
    *(("migrate",), ("maintain",), ("disable", QUERIES), ("stop", "--all"), ("enable", "--all")),
    *(("plan", "--table", "nope"), ("history", "nope"), ("refresh", "--from", "2030-01-01")),
)
PIPED = (("status",), ("history", QUERIES))


def wide_grid() -> Grid:
    grid = Grid("table", "rows", "inserted", "updated", "why")
    grid.add_row("[green]search_query_performance[/]", "1,210,153", "-", "7,654,321", "it changed")
    grid.add_row("b", "1", "2", "3", "because of something that is told in a sentence of its own")
    return grid


def shown(grid: Grid, width: int) -> list[str]:
    console = Console(file=StringIO(), width=width)
    console.print(grid)
    assert isinstance(console.file, StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [30, 40, NARROW, 100])
def test_a_grid_cuts_no_number_and_breaks_no_word(width: int):
    lines = shown(wide_grid(), width)

    words = " ".join(lines).split()
    assert all(len(line) <= width for line in lines)
    for word in ("search_query_performance", "1,210,153", "7,654,321", "something", "sentence"):
        assert word in words
    assert ("rows" in lines[0]) is (width == 100)


def test_a_narrow_grid_lists_each_row_with_its_titles():
    assert shown(wide_grid(), 48) == [
        "search_query_performance",
        "  rows 1,210,153  inserted -  updated 7,654,321",
        "  why it changed",
        "b",
        "  rows 1  inserted 2  updated 3",
        "  why because of something that is told in a",
        "  sentence of its own",
    ]


def test_commands_fit_a_narrow_terminal_and_a_pipe(environment, source, monkeypatch):
    bad = row({"Search Query Score": 0}, day=LAST, query="bad widget")
    # One in a hundred is the limit.
    many = [row(day=LAST, query=f"widget {number}") for number in range(120)]
    source.write([*three_weeks(), *many, bad])
    refresh_all(environment)
    execute(
        environment.database_url,
        f"UPDATE sqp.refresh_config SET is_enabled = table_name = '{QUERIES}'",
    )

    for command in COMMANDS:
        with monkeypatch.context() as terminal:
            terminal.setenv("COLUMNS", str(NARROW))
            terminal.setattr("sqp_refresh.cli.common._Terminal.breaks_lines", True)
            narrow = sqp_refresh(*command)
        lines = (narrow.stdout + narrow.stderr).splitlines()
        assert lines and "Traceback" not in narrow.stderr, command
        for line in lines:
            # What cannot be broken: a path, an address.
            assert len(line) <= NARROW or " " not in line.strip(), (command, line)
            assert "…" not in line and "\x1b" not in line, (command, line)
        if command in PIPED:
            monkeypatch.delenv("COLUMNS", raising=False)
            piped = sqp_refresh(*command).stdout
            assert "…" not in piped and "\x1b" not in piped, command
            assert len(piped.splitlines()) < len(lines), command


@pytest.mark.parametrize("words", [[], *([name] for name in get_command(app).commands)])  # type: ignore[attr-defined]
def test_help_fits_a_narrow_terminal(words, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(NARROW))

    lines = sqp_refresh(*words, "--help").stdout.splitlines()

    assert lines
    assert all(len(line) <= NARROW for line in lines)


def test_without_colours_there_are_none():
    program = "import sys; from sqp_refresh.cli import main; sys.argv[0] = 'sqp-refresh'; main()"
    variables = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}
    coloured, plain = (
        subprocess.run(
            [sys.executable, "-c", program, "plan"], capture_output=True, text=True, env=environment
        ).stderr
        for environment in (variables, variables | {"NO_COLOR": "1"})
    )
    assert "DATABASE_URL is not set" in plain
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", coloured)
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
