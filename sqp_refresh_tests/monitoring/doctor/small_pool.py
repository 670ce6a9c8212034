"""Put a PgBouncer that pools transactions between a test and its database."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
"""The program; None where the machine does not have it."""


@contextmanager
def small_pool(url: str, size: int) -> Iterator[str]:
    """Start a PgBouncer of so many connections in front of the database of a URL; yields its URL.

    Args:
        url: The database, as its superuser, on a Unix socket.
        size: How many transactions may be open at once (count); another waits for three seconds.
    """
    assert PGBOUNCER
    address = urlsplit(url)
    (host,), name = parse_qs(address.query)["host"], address.path.removeprefix("/")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = Path(tempfile.mkdtemp(prefix="sqp_pool_", dir="/tmp"))
    file = folder / "pgbouncer.ini"
    file.write_text(
        f"[databases]\n{name} = host={host} user={address.username}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = any\npool_mode = transaction\ndefault_pool_size = {size}\n"
        "query_wait_timeout = 3\n"
    )
    # PgBouncer refuses to run as root, and the server's own user may always use its socket.
    user = Path(host).owner() if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    process = subprocess.Popen([PGBOUNCER, "-q", file], user=user, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port)
        yield f"postgresql://anybody@127.0.0.1:{port}/{name}"
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError("PgBouncer does not answer")
