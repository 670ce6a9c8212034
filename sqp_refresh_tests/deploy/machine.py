"""Run the processes of deploy/ on one machine, by the command lines of its systemd units.

Only paths and waits are replaced: the directory, the ports, where the release is installed, and
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
    """A machine that a deployment runs on.

    Attributes:
        home: $DAGSTER_HOME.
        storage_url: Dagster's own database.
        settings: In the environment of the processes that start runs, and of no other.
        code: Module of the code location.
        instance: Sections that replace those of `dagster.yaml`.
        variables: Further variables in the environment of every process.
        ports: The ports in use here, by those of deploy/.
    """

    home: Path
    storage_url: str
    settings: dict[str, str] = field(default_factory=dict)
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
        """Return the address of the UI."""
        return f"http://127.0.0.1:{self.ports['3000']}"

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of every process, without the target and BigQuery."""
        own = {
            "DAGSTER_HOME": str(self.home),
            "DAGSTER_LOGS_DIR": str(self.home / "logs"),
            **self.variables,
        }
        names = {"PATH", "HOME", "LANG", "TMPDIR"}
        inherited = {name: os.environ[name] for name in names & os.environ.keys()}
        return inherited | own | storage_variables(self.storage_url)

    def command(self, unit: Path) -> list[str]:
        """Return the command line of a unit, with the paths and ports of this machine."""
        places = {RELEASE: sys.prefix, HOME: str(self.home), CODE: self.code}
        arguments = exec_start(unit)
        for place, here in places.items():
            arguments = [argument.replace(place, here) for argument in arguments]
        return [self.ports.get(argument, argument) for argument in arguments]

    @contextmanager
    def running(self, *units: str) -> Iterator[None]:
        """Run the processes of the units, and what they start, for as long as the context lasts."""
        with ExitStack() as started:
            for unit in units:
                started.enter_context(self.process(unit))
            yield

    @contextmanager
    def process(
        self, unit: str, *arguments: str, **settings: str
    ) -> "Iterator[subprocess.Popen[bytes]]":
        """Run the process of one unit in a session of its own while the context lasts."""
        (file,) = DEPLOY.rglob(f"sqp-refresh-{unit}.service")
        # The tests' own package is not installed.
        secrets = self.settings | settings | {"PYTHONPATH": str(DEPLOY.parent)}
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
        """Send a GraphQL query to the webserver, as its own pages do."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=ANSWERED_WITHIN_S) as answer:
            response = json.load(answer)
        assert "errors" not in response, response["errors"]
        return response["data"]

    def launch(self, first: str, last: str, location: str = LOCATION) -> None:
        """Launch a run of the nightly job over a range of weeks."""
        range_of_weeks = {
            "dagster/asset_partition_range_start": first,
            "dagster/asset_partition_range_end": last,
        }
        tags = [{"key": key, "value": value} for key, value in range_of_weeks.items()]
        answer = self.query(_LAUNCH, tags=tags, location=location)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer

    def create_pools(self) -> None:
        """Create each table's pool first: if two runs create a pool at once, one may fail."""
        for table in TABLES:
            pool = f"{self.settings['BIGQUERY_DATASET']}/{SCHEMA}/{table}"
            self.query(_CREATE_POOL, pool=pool)

    def unfinished(self, job: str | None = None) -> list[Any]:
        """List the runs, of one job or of all, that have not ended."""
        return self.query(_UNFINISHED, job=job)["runsOrError"]["results"]

    def await_code(self) -> None:
        """Wait until the webserver has loaded the code location."""
        entries = (
            "{ workspaceOrError { ... on Workspace {"
            " locationEntries { locationOrLoadError { __typename } } } } }"
        )

        def loaded() -> bool:
            try:
                locations = self.query(entries)["workspaceOrError"]["locationEntries"]
            except (urllib.error.URLError, ConnectionError):
                return False
            kinds = {
                (location["locationOrLoadError"] or {}).get("__typename") for location in locations
            }
            return kinds == {"RepositoryLocation"}

        await_that(loaded, "the webserver has loaded the code location", UP_WITHIN_S)


def storage_variables(url: str) -> dict[str, str]:
    """Return the variables that `dagster.yaml` reads, for the URL of an embedded Postgres."""
    address = urlsplit(url)
    return {
        "DAGSTER_PG_HOST": "",
        "DAGSTER_PG_PORT": "5432",
        "DAGSTER_PG_DB": address.path.removeprefix("/"),
        "DAGSTER_PG_USERNAME": address.username or "",
        "DAGSTER_PG_PASSWORD": "",
        # With an empty host libpq takes PGHOST, which may be a socket.
        "PGHOST": parse_qs(address.query)["host"][0],
    }


def exec_start(unit: Path) -> list[str]:
    """Return the command line of a systemd unit."""
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.read(unit)
    return shlex.split(parsed["Service"]["ExecStart"])


def free_ports(number: int) -> list[int]:
    """Find free ports."""
    sockets = [socket.socket() for _ in range(number)]
    try:
        for listener in sockets:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in sockets]
    finally:
        for listener in sockets:
            listener.close()


def await_that(happened: Callable[[], Any], what: str, within_s: float = 60) -> Any:
    """Wait until `happened` returns something that is true, and return that."""
    end = time.monotonic() + within_s
    while not (result := happened()):
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(0.2)
    return result


def signal_all(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Signal a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)
