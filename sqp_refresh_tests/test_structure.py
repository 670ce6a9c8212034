"""The house rules that no linter holds: arrows between folders, the package list, the README."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.cli import app
from sqp_refresh.model.tables import TABLES
from sqp_refresh.settings import Settings

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sqp_refresh"
TESTS = Path(__file__).parent
LAYERS = (
    ("model", "errors"),
    ("retrying", "settings"),
    ("postgres",),
    ("alerts", "extract", "validate", "ledger"),
    ("registry", "rollup"),
    ("control",),
    ("checks",),
    ("load",),
    ("refresh",),
    ("monitoring", "demo"),
    ("defs", "gc_tuning"),
    ("definitions",),
    ("cli",),
)
"""The package from the bottom up: a folder imports from its own layer and from those before it."""


def imports_of(file: Path) -> set[str]:
    """The folders and modules of the package that a file imports, lazily or not, by first name."""
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqp_refresh"):
            parts = (node.module or "").split(".")[1:]
            imported |= {parts[0]} if parts else {alias.name for alias in node.names}
    return imported - {"__version__"}


def test_imports_point_from_the_upper_layers_to_the_lower_ones():
    depth = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    for file in PACKAGE.rglob("*.py"):
        place = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if place != "__init__":
            above = {name for name in imports_of(file) if depth[name] > depth[place]}
            assert not above, f"{file.relative_to(PACKAGE)} imports {above}"


def modules_imported_by(tree: ast.AST) -> Iterator[str]:
    """Yield each module or name that a program imports, also those in the text of a program."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.findall(r"(?:from|import) +(sqp_refresh_tests\.[\w.]+)", node.value)


def test_what_tests_share_is_in_modules_without_tests():
    for file in TESTS.rglob("*.py"):
        imported = modules_imported_by(ast.parse(file.read_text()))
        of_tests = {name.split(".")[-1] for name in imported if is_of_tests(name)}
        assert not of_tests, f"{file.relative_to(TESTS)} imports {of_tests} of a module of tests"


def is_of_tests(name: str) -> bool:
    """Return whether a module, or what is imported from it, is one that pytest collects."""
    words = name.split(".")
    return words[0] == "sqp_refresh_tests" and any(
        word == "conftest" or word.startswith("test_") for word in words
    )


def test_every_folder_of_the_package_is_in_the_wheel():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {
        ".".join(file.parent.relative_to(ROOT).parts) for file in PACKAGE.rglob("__init__.py")
    }
    folders |= {"sqp_refresh.migrations", "sqp_refresh.migrations.versions"}

    assert set(listed) == folders


def test_the_readme_names_every_table_switch_and_command():
    readme = (ROOT / "README.md").read_text()
    commands = getattr(get_command(app), "commands")  # noqa: B009, click's type does not say so

    for name in (*TABLES, *Settings.model_fields):
        assert f"`{name}`" in readme, name
    for command in commands:
        assert f"`sqp-refresh {command}" in readme, command


def commands_named(page: str) -> list[list[str]]:
    """Every `sqp-refresh …` of a page, in words: in backticks, or a line of a shell block."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in fenced if kind != "sql" for line in block.splitlines()]
    named = [re.search(r"\bsqp-refresh (.*?)(?: *[#|>;&].*)?$", line) for line in lines]
    said = [match[1] for match in named if match] + re.findall(r"`sqp-refresh ([^`\n]+)`", page)
    return [words.split() for words in said]


@pytest.mark.parametrize("page", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_every_command_and_option_of_a_page_exists(page):
    commands = commands_named((ROOT / "docs" / page).read_text())

    assert commands or page != "runbook.md"
    for words in commands:
        command: Any = get_command(app)
        for word in words:
            if hasattr(command, "commands"):
                assert word in command.commands, " ".join(words)
                command = command.commands[word]
            elif word.startswith("--"):
                options = {name for one in command.params for name in one.opts} | {"--help"}
                assert word in options, " ".join(words)


def test_the_readme_states_the_defaults_that_are():
    readme = (ROOT / "README.md").read_text()

    for name, default in re.findall(r"^\| `([A-Z_]+)` \| `(.+?)` \|", readme, re.MULTILINE):
        assert str(Settings.model_fields[name].default) == default, name


def test_the_quality_page_names_every_check_and_metric():
    page = (ROOT / "docs" / "quality.md").read_text()

    for metric in METRICS.values():
        assert f"`{metric.check}`" in page
        assert f"`{metric.name}`" in page


def test_constraints_are_pins_and_nothing_else():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line), line
