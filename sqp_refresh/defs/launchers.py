"""Launch runs on Celery's workers, and notice the workers that are gone; for `dagster.yaml`."""

import time
from typing import Any

from dagster import DagsterRun
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

from sqp_refresh.defs.dagster_internals import CheckRunHealthResult, WorkerStatus

ANSWERS_WITHIN_S = 5
LOST_AFTER_S = 120
"""How long a worker may be silent, while the broker answers, before its run counts as lost."""

_STARTED = "STARTED"


class CeleryRuns(CeleryRunLauncher):
    """Launcher of runs as Celery tasks, which asks each worker whether it still works at its run.

    Celery does not notice that a worker was killed: to it, the task has started, and stays so. Run
    monitoring asks this launcher, and the one it extends would answer that the run is healthy.
    """

    def __init__(self, **config: Any) -> None:  # noqa: ANN401, what Dagster read in dagster.yaml
        super().__init__(**config)
        self._silent_since: dict[str, float] = {}

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Return that a run failed, and why, where its worker is gone or does other work."""
        health = super().check_run_worker_health(run)
        if health.status is not WorkerStatus.RUNNING:
            return health
        reason = self._find_loss(run.tags[DAGSTER_CELERY_TASK_ID_TAG])
        return CheckRunHealthResult(WorkerStatus.FAILED, reason) if reason else health

    def _find_loss(self, task: str) -> str | None:
        """Return why a task has to be given up; None where its worker is at it, or it has ended."""
        worker = self._worker_of(task)
        if worker is None:
            return None
        active = self.celery.control.inspect([worker], timeout=ANSWERS_WITHIN_S).active()
        # It may have ended its task while it was asked.
        if self._worker_of(task) is None:
            return None
        if active is None:
            return self._measure_silence(task, worker)
        self._silent_since.pop(task, None)
        is_active = task in {running["id"] for running in active[worker]}
        return None if is_active else f"the worker {worker} was started again, and is not at it"

    def _measure_silence(self, task: str, worker: str) -> str | None:
        """Return that a worker is silent for too long; None where it may only be slow."""
        silent_s = time.monotonic() - self._silent_since.setdefault(task, time.monotonic())
        if silent_s < LOST_AFTER_S:
            return None
        return f"the worker {worker} has not answered for {silent_s:.0f} s"

    def _worker_of(self, task: str) -> str | None:
        """Return the name of the worker that has begun a task; None where the task has ended."""
        task_meta = self.celery.backend.get_task_meta(task)
        return task_meta["result"]["hostname"] if task_meta["status"] == _STARTED else None
