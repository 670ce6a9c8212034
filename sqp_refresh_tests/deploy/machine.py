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
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from sqp_refresh.demo.servers import uninterrupted
from sqp_refresh.model.tables import SCHEMA, TABLES

DEPLOY = Path(__file__).parents[2] / "deploy"
RELEASE = "/opt/sqp_refresh/.venv"
HOME = "/var/lib/sqp_refresh"
CODE = "sqp_refresh.definitions"
WAITS = {"poll_interval_seconds": 2, "free_slots_after_run_end_seconds": 1}
LOCATION = "sqp_refresh"
UP_WITHIN_S = 300
STOPPED_WITHIN_S = 20
ANSWERED_WITHIN_S = 120

_LAUNCH = """
mutation ($tags: [ExecutionTag!], $location: String!) {
  launchRun(executionParams: {
    selector: {
      repositoryLocationName: $location, repositoryName: "__repository__", jobName: "daily_refresh"
    }
    executionMetadata: {tags: $tags}
  }) {
    __typename
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""
_CREATE_POOL = "mutation ($pool: String!) { setConcurrencyLimit(concurrencyKey: $pool, limit: 1) }"
_UNFINISHED = """
query ($job: String) {
  runsOrError(filter: {
    pipelineName: $job, statuses: [QUEUED, NOT_STARTED, STARTING, STARTED, CANCELING]
  }) { ... on Runs { results { runId } } }
}
"""


@dataclass(slots=True)
class Machine:
    """Where a deployment runs.

    Attributes:
        home: $DAGSTER_HOME.
        storage_url: Dagster's own database.
        switches: The environment of what starts runs, and of nothing else.
        code: Module of the code location.
        instance: What stands in `dagster.yaml` in place of what stands there.
        variables: What else is in the environment of every process.
    """

    home: Path
    storage_url: str
    switches: dict[str, str] = field(default_factory=dict)
    code: str = CODE
    instance: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.ports = dict(zip(("3000", "4000"), map(str, free_ports(2)), strict=True))
        configured = yaml.safe_load((DEPLOY / "dagster.yaml").read_text()) | self.instance
        configured["run_monitoring"] |= WAITS
        (self.home / "dagster.yaml").write_text(yaml.safe_dump(configured))
        workspace = (DEPLOY / "workspace.yaml").read_text()
        (self.home / "workspace.yaml").write_text(workspace.replace("4000", self.ports["4000"]))

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
            **self.variables,
        }
        kept = {"PATH", "HOME", "LANG", "TMPDIR"}
        kept_ones = {name: os.environ[name] for name in kept & os.environ.keys()}
        return kept_ones | own | storage_variables(self.storage_url)

    def command(self, unit: Path) -> list[str]:
        """What a unit starts, in the places of this machine."""
        places = {RELEASE: sys.prefix, HOME: str(self.home), CODE: self.code}
        words = exec_start(unit)
        for place, here in places.items():
            words = [word.replace(place, here) for word in words]
        return [self.ports.get(word, word) for word in words]

    @contextmanager
    def running(self, *units: str) -> Iterator[None]:
        """Processes of the units, and whatever they start, until the block ends."""
        with ExitStack() as started:
            for unit in units:
                started.enter_context(self.process(unit))
            yield

    @contextmanager
    def process(
        self, unit: str, *arguments: str, **switches: str
    ) -> "Iterator[subprocess.Popen[bytes]]":
        """The process of one unit, with a session of its own, until the block ends."""
        (file,) = DEPLOY.rglob(f"sqp-refresh-{unit}.service")
        # The tests' own package is not installed.
        secrets = self.switches | switches | {"PYTHONPATH": str(DEPLOY.parent)}
        with (self.home / f"{'-'.join([unit, *arguments])}.log").open("wb") as log:
            process = subprocess.Popen(
                [*self.command(file), *arguments],
                env=self.environment | (secrets if "refresh.env" in file.read_text() else {}),
                stdout=log,
                stderr=log,
                cwd=self.home,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            with uninterrupted():
                signal_all(process, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(STOPPED_WITHIN_S)
                # What it started may outlive it.
                signal_all(process, signal.SIGKILL)
                process.wait()

    def query(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the webserver what its own pages ask it."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWERED_WITHIN_S) as answer:
            said = json.load(answer)
        assert "errors" not in said, said["errors"]
        return said["data"]

    def launch(self, first: str, last: str, location: str = LOCATION) -> None:
        """Ask for a run of the nightly job over a range of weeks."""
        range_of_weeks = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        tags = [{"key": key, "value": value} for key, value in range_of_weeks.items()]
        answer = self.query(_LAUNCH, tags=tags, location=location)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer

    def create_pools(self) -> None:
        """Create each table's pool, as a first load does: two runs at once may fail one of them."""
        for table in TABLES:
            pool = f"{self.switches['BIGQUERY_DATASET']}/{SCHEMA}/{table}"
            self.query(_CREATE_POOL, pool=pool)

    def unfinished(self, job: str | None = None) -> list[Any]:
        """The runs, of one job or of all, that are queued or at work."""
        return self.query(_UNFINISHED, job=job)["runsOrError"]["results"]

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


def signal_all(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Signal a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
