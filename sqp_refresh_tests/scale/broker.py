"""Run a Redis without storage as the broker between the daemon and Celery's workers."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from sqp_refresh_tests.deploy.machine import free_ports

REDIS = shutil.which("redis-server")


@contextmanager
def broker() -> Iterator[str]:
    """Run a broker for as long as the context lasts.

    Yields:
        Its URL.
    """
    assert REDIS, "there is no redis-server"
    (port,) = free_ports(1)
    command = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        process.terminate()
        process.wait()
