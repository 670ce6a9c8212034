"""One machine of a deployment: the processes of deploy/, started by the lines of its own units.

Only places and waits are replaced: the directory, the ports, where the release is installed, and
how often the daemon looks at runs.
"""

import configparser
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

DEPLOY = Path(__file__).parents[2] / "deploy"
RELEASE = "/opt/sqp_refresh/.venv"
HOME = "/var/lib/sqp_refresh"
CODE = "sqp_refresh.definitions"
WAITS = {
    "poll_interval_seconds: 30": "poll_interval_seconds: 2",
    "free_slots_after_run_end_seconds: 15": "free_slots_after_run_end_seconds: 1",
}
UP_WITHIN_S = 90


@dataclass(slots=True)
class Machine:
    """Where a deployment runs.

    Attributes:
        home: $DAGSTER_HOME.
        storage_url: Dagster's own database.
        switches: The environment of the code server, and of it alone.
        code: Module of the code location.
    """

    home: Path
    storage_url: str
    switches: dict[str, str] = field(default_factory=dict)
    code: str = CODE
    ports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.ports = dict(zip(("3000", "4000"), map(str, free_ports(2)), strict=True))
        self._install("dagster.yaml", WAITS)
        self._install("workspace.yaml", self.ports)

    def _install(self, name: str, replaced: dict[str, str]) -> None:
        text = (DEPLOY / name).read_text()
        for here, there in replaced.items():
            text = text.replace(here, there)
        (self.home / name).write_text(text)

    @property
    def url(self) -> str:
        """Address of the UI."""
        return f"http://127.0.0.1:{self.ports['3000']}"

    @property
    def environment(self) -> dict[str, str]:
        """What every process has in its environment: nothing of the target, nothing of BigQuery."""
        own = {
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_LOGS_DIR": str(self.home / "logs"),
        }
        kept = {"PATH", "HOME", "LANG", "TMPDIR"}
        kept_ones = {name: os.environ[name] for name in kept & os.environ.keys()}
        return kept_ones | own | storage_variables(self.storage_url)

    def command(self, unit: str) -> list[str]:
        """What a unit starts, in the places of this machine."""
        places = {RELEASE: sys.prefix, HOME: str(self.home), CODE: self.code}
        words = exec_start(DEPLOY / "systemd" / f"sqp-refresh-{unit}.service")
        for place, here in places.items():
            words = [word.replace(place, here) for word in words]
        return [self.ports.get(word, word) for word in words]

    @contextmanager
    def running(self, *units: str) -> Iterator[None]:
        """Processes of the units, and whatever they start, until the block ends."""
        started = [self._start(unit) for unit in units]
        try:
            yield
        finally:
            for process in started:
                with_children(process, signal.SIGTERM)
            for process in started:
                _end(process)

    def _start(self, unit: str) -> "subprocess.Popen[bytes]":
        # The tests' own package is not installed.
        secrets = self.switches | {"PYTHONPATH": str(DEPLOY.parent)} if unit == "code" else {}
        with (self.home / f"{unit}.log").open("wb") as log:
            return subprocess.Popen(
                self.command(unit),
                env=self.environment | secrets,
                stdout=log,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
            )

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver what its own pages ask it."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = json.load(answer)
        assert "errors" not in said, said["errors"]
        return said["data"]

    def await_code(self) -> None:
        """Wait until the webserver has loaded the code location."""
        entries = (
            "{ workspaceOrError { ... on Workspace {"
            " locationEntries { locationOrLoadError { __typename } } } } }"
        )

        def loaded() -> bool:
            try:
                found = self.query(entries)["workspaceOrError"]["locationEntries"]
            except (urllib.error.URLError, ConnectionError):
                return False
            kinds = {(one["locationOrLoadError"] or {}).get("__typename") for one in found}
            return kinds == {"RepositoryLocation"}

        await_that(loaded, "the webserver has loaded the code location", UP_WITHIN_S)


def storage_variables(url: str) -> dict[str, str]:
    """What `dagster.yaml` asks the environment for, given the URL of an embedded Postgres."""
    parts = urlsplit(url)
    return {
        "DAGSTER_PG_HOST": "",
        "DAGSTER_PG_PORT": "5432",
        "DAGSTER_PG_DB": parts.path.removeprefix("/"),
        "DAGSTER_PG_USERNAME": parts.username or "",
        "DAGSTER_PG_PASSWORD": "",
        # An address that is empty is libpq's own, which may be a socket.
        "PGHOST": parse_qs(parts.query)["host"][0],
    }


def exec_start(unit: Path) -> list[str]:
    """The command line of a systemd unit."""
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read(unit)
    return shlex.split(parsed["Service"]["ExecStart"])


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def await_that(happened: Callable[[], Any], what: str, within_s: float = 60) -> Any:
    """Wait until something is so; returns what `happened` found."""
    end = time.monotonic() + within_s
    while not (found := happened()):
        assert time.monotonic() < end, f"it never came that {what}"
        time.sleep(0.2)
    return found


def with_children(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Signal a process and all that it started."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        with_children(process, signal.SIGKILL)
        process.wait()
