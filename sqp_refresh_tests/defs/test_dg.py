"""The commands that Dagster's own guides name, started in the repository as people do."""

import os
import subprocess
import sys
from pathlib import Path

from dotenv import dotenv_values

from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import env_example

ROOT = Path(__file__).parents[2]
DG = ("-m", "dagster_dg_cli.cli")


def start(*arguments: str, home: Path, folder: Path = ROOT) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | {"DAGSTER_HOME": str(home), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output(process: "subprocess.Popen[str]") -> str:
    printed, _ = process.communicate()
    assert process.returncode == 0, printed[-3000:]
    return printed


def test_dg_checks_and_lists_the_definitions_and_what_it_supersedes_still_checks(tmp_path):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    checked = start(*DG, "check", "defs", home=tmp_path)
    superseded = start("-m", "dagster", "definitions", "validate", home=tmp_path)
    listed = start(*DG, "list", "defs", home=tmp_path)

    assert "loaded successfully" in output(checked)
    assert "Validation successful" in output(superseded)
    names = output(listed)
    for name in ("weekly_summary", "seller-search_query_performance", "refresh_nightly"):
        assert name in names
    assert "daily_refresh_schedule" in names


def test_the_example_of_env_has_every_setting_with_its_default_and_dg_lists_them(
    tmp_path, monkeypatch
):
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / "sqp_refresh").symlink_to(ROOT / "sqp_refresh")
    (tmp_path / ".env").write_bytes(env_example.FILE.read_bytes())
    listing = start(*DG, "list", "envs", home=tmp_path, folder=tmp_path)

    assert env_example.FILE.read_text() == env_example.text()
    values = dotenv_values(env_example.FILE)
    assert values.keys() == Settings.model_fields.keys() - env_example.NOT_TO_BE_EMPTY
    default = Settings.read()
    for name, value in values.items():
        monkeypatch.setenv(name, value or "")
    assert Settings.read() == default

    listed = output(listing)
    assert all(f" {name} " in listed for name in values)
