"""Start servers in any directory, keep their data, and end them with their parent process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import psycopg
import pytest

from sqp_refresh.demo import servers
from sqp_refresh.demo.servers import (
    Emulator,
    bigquery_client,
    embedded_bigquery,
    embedded_postgres,
    owned,
    terminating_like_an_exception,
)
from sqp_refresh.demo.source_table import call_deadline
from sqp_refresh.errors import Permanent, Unavailable

GONE_WITHIN_S = 15


@dataclass(frozen=True)
class Holder:
    """A process in a group of its own, as a shell starts one, and the servers it has started."""

    process: "subprocess.Popen[bytes]"
    home: Path
    url: str
    emulator: Emulator

    @property
    def postmaster(self) -> psutil.Process:
        return postmaster_of(self.home / "postgres")

    def started(self) -> list[psutil.Process]:
        parents = [*psutil.Process(self.process.pid).children(), self.postmaster]
        return [
            *parents,
            *(child for parent in parents for child in parent.children(recursive=True)),
        ]

    def interrupt(self) -> None:
        """Send SIGINT to the whole group, as a terminal does on Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[], Holder]]:
    holders: list[Holder] = []

    def start() -> Holder:
        process = subprocess.Popen(
            [sys.executable, "-m", "sqp_refresh_tests.demo.holder", str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(tmp_path / "errors").open("wb"),
            start_new_session=True,
        )
        assert process.stdout
        line = process.stdout.readline()
        assert line, (tmp_path / "errors").read_text()
        url, emulator = json.loads(line)
        holders.append(Holder(process, tmp_path, url, Emulator(**emulator)))
        return holders[-1]

    yield start
    for holder in holders:
        with holder.process:  # closes its input, waits
            pass


def postmaster_of(directory: Path) -> psutil.Process:
    return psutil.Process(int((directory / "postmaster.pid").read_text().split("\n")[0]))


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def make_dataset(emulator: Emulator, name: str) -> None:
    with bigquery_client(emulator) as client:
        client.create_dataset(name, **call_deadline())


def dataset_ids(emulator: Emulator) -> list[str]:
    with bigquery_client(emulator) as client:
        return [dataset.dataset_id for dataset in client.list_datasets(**call_deadline())]


# -- the end ---------------------------------------------------------------------------------------


def test_sigterm_leaves_nothing_running(hold: Callable[[], Holder]):
    holder = hold()
    started = holder.started()
    assert len(started) > 2
    holder.process.terminate()
    assert holder.process.wait(GONE_WITHIN_S) == 128 + signal.SIGTERM
    assert psutil.wait_procs(started, GONE_WITHIN_S)[1] == []


def test_a_killed_holder_takes_the_emulator_along_and_leaves_postgres_to_the_next(
    hold: Callable[[], Holder],
):
    killed = hold()
    run(killed.url, "CREATE TABLE kept AS SELECT 7 AS number")
    make_dataset(killed.emulator, "kept")
    postmaster = killed.postmaster
    emulators = [child for child in killed.started() if child.name().startswith("python")]
    assert len(emulators) == 1
    killed.process.kill()

    holder = hold()  # at once, while the emulator of the other may still be stopping
    assert psutil.wait_procs(emulators, GONE_WITHIN_S)[1] == []
    assert holder.postmaster == postmaster
    assert run(holder.url, "SELECT number FROM kept") == [(7,)]
    assert dataset_ids(holder.emulator) == ["kept"]

    started = holder.started()
    for _ in range(3):  # as an impatient person does
        holder.interrupt()
        time.sleep(0.02)
    assert holder.process.wait(GONE_WITHIN_S) == -signal.SIGINT
    assert psutil.wait_procs(started, GONE_WITHIN_S)[1] == []


def test_an_emulator_in_memory_is_empty_and_does_not_mind_an_interrupt(
    emulator: Emulator, dataset: str
):
    before = set(psutil.Process().children())
    with embedded_bigquery(project=emulator.project) as another:
        for child in set(psutil.Process().children()) - before:
            child.send_signal(signal.SIGINT)
        assert dataset_ids(another) == []
    assert dataset in dataset_ids(emulator)


# -- the data --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "deep/" * 30, "with a space & more"])
def test_postgres_keeps_its_data(tmp_path: Path, name: str):
    for statement in ("CREATE TABLE kept AS SELECT 7 AS number", "SELECT number FROM kept"):
        with embedded_postgres(tmp_path / name) as url:
            assert url.startswith("postgresql://")
            rows = run(url, statement)
    assert rows == [(7,)]


@pytest.mark.parametrize("version", [16, 18])
def test_postgres_has_the_version_asked_for(tmp_path: Path, version: int):
    with embedded_postgres(tmp_path, version=version) as url:
        assert run(url, "SELECT current_setting('server_version_num')::int / 10000") == [(version,)]


# -- what stands in the way ------------------------------------------------------------------------


def test_a_dead_server_whose_process_id_is_another_s_now(tmp_path: Path):
    with embedded_postgres(tmp_path):
        trace = (tmp_path / "postmaster.pid").read_text()
    _, *rest = trace.split("\n")
    (tmp_path / "postmaster.pid").write_text("\n".join([str(os.getpid()), *rest]))
    with embedded_postgres(tmp_path) as url:
        assert run(url, "SELECT 1") == [(1,)]
    assert psutil.pid_exists(os.getpid())


def test_a_directory_has_one_holder(tmp_path: Path):
    with owned(tmp_path):
        for another in (embedded_postgres(tmp_path), embedded_bigquery(tmp_path, project="p")):
            with pytest.raises(Permanent, match=r"is in use; end the other demo"), another:
                pass
    with owned(tmp_path):
        pass


def test_data_of_another_version_are_not_touched(tmp_path: Path):
    (tmp_path / "PG_VERSION").write_text("16\n")
    with (
        pytest.raises(Permanent, match="was written by Postgres 16, not 18; remove it"),
        embedded_postgres(tmp_path),
    ):
        pass


def test_postgres_that_does_not_start_says_why(tmp_path: Path):
    with embedded_postgres(tmp_path):
        pass
    (tmp_path / "postgresql.conf").write_text("nonsense = 1\n")
    with (
        pytest.raises(Unavailable, match=r"embedded Postgres did not start: .*contains errors"),
        embedded_postgres(tmp_path),
    ):
        pass


def test_bigquery_that_does_not_start_says_why(tmp_path: Path):
    (tmp_path / "bqemulator.duckdb").write_text("not a database")
    with (
        pytest.raises(Unavailable, match=r"emulator did not start: .*not a valid DuckDB") as caught,
        embedded_bigquery(tmp_path, project="p"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_bigquery_that_never_gets_ready_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(servers, "READY_WITHIN_S", 0.1)
    with (
        pytest.raises(Unavailable, match=r"did not start: nothing happened for 0.1 s"),
        embedded_bigquery(project="p"),
    ):
        pass


def test_starting_postgres_warns_of_nothing(tmp_path: Path):
    program = (
        "import pathlib, sys; from sqp_refresh.demo.servers import embedded_postgres as start\n"
        "with start(pathlib.Path(sys.argv[1])): pass"
    )
    environment = {name: os.environ[name] for name in os.environ if name != "XDG_RUNTIME_DIR"}
    done = subprocess.run(
        [sys.executable, "-W", "default", "-c", program, str(tmp_path)],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")


# -- signals ---------------------------------------------------------------------------------------


@pytest.fixture
def sigterm() -> Iterator[Callable[..., object]]:
    """Return a function that sets the handler of SIGTERM until the end of the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield partial(signal.signal, signal.SIGTERM)
    signal.signal(signal.SIGTERM, before)


def test_sigterm_unwinds_the_stack_and_is_given_back(sigterm: Callable[..., object]):
    sigterm(signal.SIG_DFL)
    unwound = []
    with pytest.raises(SystemExit) as caught, terminating_like_an_exception():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            unwound.append(True)
    assert unwound and caught.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_that_is_already_set_stays(sigterm: Callable[..., object]):
    caught = []
    sigterm(lambda *_: caught.append(True))
    with terminating_like_an_exception():
        signal.raise_signal(signal.SIGTERM)
    assert caught == [True]
