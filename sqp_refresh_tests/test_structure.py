"""The house rules that no linter holds: arrows between folders, the package list, the README."""

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from sqp_refresh.cli import app
from sqp_refresh.settings import Settings
from sqp_refresh.tables import TABLES
from sqp_refresh.validate.metrics import METRICS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "sqp_refresh"
VOCABULARY = {"tables", "weeks", "errors", "contract", "events"}
SHARED = VOCABULARY | {
    "settings",
    "postgres",
    "parts",
    "reading",
    "retries",
    "held",
    "inventory",
    "measures",
    "published",
}
STEPS = ("extract", "validate", "load", "rollup", "control")


def rooms_imported(file: Path) -> set[str]:
    """The rooms of the package that a file imports from, by the first name below the package."""
    imported = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sqp_refresh"):
            parts = (node.module or "").split(".")[1:]
            imported |= {parts[0]} if parts else {alias.name for alias in node.names}
    return imported


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_the_vocabulary_imports_nothing_but_itself(name):
    assert rooms_imported(PACKAGE / f"{name}.py") <= VOCABULARY


@pytest.mark.parametrize("step", STEPS)
def test_a_step_imports_no_other_step(step):
    for file in (PACKAGE / step).glob("*.py"):
        assert rooms_imported(file) <= SHARED | {step}, file.name


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_the_steps_share_knows_no_step(name):
    assert rooms_imported(PACKAGE / f"{name}.py").isdisjoint(STEPS)


def test_alerts_go_out_of_the_outbox_and_nothing_else_sends_them():
    allowed = VOCABULARY | {"settings", "postgres", "control", "alerts", "__version__"}
    for file in (PACKAGE / "alerts").glob("*.py"):
        assert rooms_imported(file) <= allowed, file.name
    senders = {file for file in PACKAGE.rglob("*.py") if "alerts" in rooms_imported(file)}
    assert {str(file.parent.relative_to(PACKAGE)) for file in senders} == {"alerts", "cli", "defs"}


@pytest.mark.parametrize("step", [*STEPS, "demo", "alerts"])
def test_no_step_knows_who_runs_it(step):
    for file in (PACKAGE / step).glob("*.py"):
        assert rooms_imported(file).isdisjoint(
            {"defs", "definitions", "cli", "console", "catalog", "refresh"}
        ), file.name


def test_the_dashboard_reads_views_and_knows_no_step():
    for file in (PACKAGE / "dashboard").glob("*.py"):
        assert rooms_imported(file) <= VOCABULARY | {"postgres", "dashboard", "__version__"}


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
