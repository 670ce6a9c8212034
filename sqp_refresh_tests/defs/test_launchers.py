"""Notice the runs whose worker is gone, and leave those alone whose worker works at them."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg
import pytest
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from sqp_refresh.defs import launchers
from sqp_refresh.defs.dagster_internals import CheckRunHealthResult, WorkerStatus
from sqp_refresh.defs.launchers import CeleryRuns
from sqp_refresh_tests.defs import staying_worker
from sqp_refresh_tests.deploy.machine import DEPLOY, RELEASE, await_that, exec_start, signal_all
from sqp_refresh_tests.scale.broker import REDIS, broker

PLACES = {RELEASE: sys.prefix, "dagster_celery.app": staying_worker.__name__}
QUEUE = "dagster"


@pytest.fixture
def address() -> Iterator[str]:
    if REDIS is None:
        pytest.skip("there is no redis-server")
    with broker() as address:
        yield address


@contextmanager
def worker(address: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A worker as its unit starts it, which knows a task that never ends."""
    command = exec_start(DEPLOY / "celery" / "sqp-refresh-worker.service")
    for place, here in PLACES.items():
        command = [word.replace(place, here) for word in command]
    variables = {"CELERY_BROKER_URL": address, "CELERY_RESULT_BACKEND": address}
    process = subprocess.Popen(
        command,
        cwd=DEPLOY.parent,
        env=os.environ | variables,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        signal_all(process, signal.SIGKILL)
        process.wait()


def test_a_run_is_lost_with_its_worker(address, monkeypatch):
    monkeypatch.setattr(launchers, "ANSWERS_WITHIN_S", 1)
    launcher = CeleryRuns(default_queue=QUEUE, broker=address, backend=address)
    task = launcher.celery.send_task(f"{staying_worker.__name__}.stay", queue=QUEUE)
    run = dg.DagsterRun("daily_refresh", tags={DAGSTER_CELERY_TASK_ID_TAG: task.id})

    def health() -> CheckRunHealthResult:
        return launcher.check_run_worker_health(run)

    with worker(address) as first:
        await_that(lambda: task.state == "STARTED", "the worker has begun the run")
        assert health().status is WorkerStatus.RUNNING
        signal_all(first, signal.SIGKILL)
        first.wait()
        assert health().status is WorkerStatus.RUNNING, "silence may be that of the network"
        with monkeypatch.context() as later:
            later.setattr(launchers, "LOST_AFTER_S", 0)
            gone = health()
    with worker(address):
        again = await_that(
            lambda: (result := health()).status is WorkerStatus.FAILED and result,
            "the worker says that it is not at the run",
        )

    assert gone.status is WorkerStatus.FAILED
    assert "has not answered" in (gone.msg or "")
    assert "started again" in (again.msg or "")
