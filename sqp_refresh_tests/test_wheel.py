"""Build a wheel, and check that it contains all that the installed package reads."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from sqp_refresh import __version__
from sqp_refresh.postgres import migrate

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Build the wheel from a copy of the sources, without the network."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "sqp_refresh",
            "migrations",
            "*.toml",
            "*.cfg",
            "*.md",
            "LICENSE",
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, tracked.stdout.decode().split("\0")):
        copy = folder / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    build = "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=folder / "source", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_the_wheel_holds_every_migration_and_all_that_is_not_code(wheel):
    names = set(wheel.namelist())

    for file in migrate.FOLDER.rglob("*"):
        if file.suffix in (".py", ".sql", ".json"):
            assert f"sqp_refresh/migrations/{file.relative_to(migrate.FOLDER)}" in names
    for file in (ROOT / "sqp_refresh").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert str(file.relative_to(ROOT)) in names


def test_the_wheel_holds_no_test_and_nothing_beside_the_package(wheel):
    folders = {name.partition("/")[0] for name in wheel.namelist()}

    assert folders == {"sqp_refresh", f"sqp_refresh-{__version__}.dist-info"}


def test_the_package_of_the_wheel_runs_outside_the_repository(wheel, tmp_path):
    wheel.extractall(tmp_path)
    start = "import sqp_refresh, sys; sys.stderr.write(sqp_refresh.__file__);"
    start += "from sqp_refresh.cli import main; main()"

    done = subprocess.run(
        [sys.executable, "-c", start, "migrate", "--sql"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert done.stderr == str(tmp_path / "sqp_refresh" / "__init__.py")
    assert done.stdout.strip() == migrate.render_sql().strip()


def test_the_wheel_says_where_it_runs(wheel):
    metadata = wheel.read(f"sqp_refresh-{__version__}.dist-info/METADATA").decode()

    for minor in (11, 12, 13):
        assert f"Classifier: Programming Language :: Python :: 3.{minor}\n" in metadata
    assert "Requires-Python: <3.14,>=3.11\n" in metadata
    assert (
        "sqp-refresh = sqp_refresh.cli:main"
        in wheel.read(f"sqp_refresh-{__version__}.dist-info/entry_points.txt").decode()
    )
