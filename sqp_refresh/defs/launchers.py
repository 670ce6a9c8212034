"""Where runs are launched beside Dagster's own launchers, for `dagster.yaml` to name."""

import time
from typing import Any

from dagster import DagsterRun
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_TASK_ID_TAG

ANSWERS_WITHIN_S = 5
LOST_AFTER_S = 120
"""How long a worker may be silent, while the broker answers, before its run counts as lost."""

_STARTED = "STARTED"


class CeleryRuns(CeleryRunLauncher):
    """Runs as tasks of Celery's workers, each of which is asked whether it is still at its run.

    A worker that is killed takes no leave: to Celery its task is started, and stays so. Run
    monitoring asks this launcher, and Dagster's own would take it at that word.
    """

    def __init__(self, **config: Any) -> None:  # noqa: ANN401, what Dagster read in dagster.yaml
        super().__init__(**config)
        self._silent_since: dict[str, float] = {}

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Failed, with the reason, where the worker of a run that was started is not at it."""
        said = super().check_run_worker_health(run)
        if said.status is not WorkerStatus.RUNNING:
            return said
        reason = self._lost(run.tags[DAGSTER_CELERY_TASK_ID_TAG])
        return CheckRunHealthResult(WorkerStatus.FAILED, reason) if reason else said

    def _lost(self, task: str) -> str | None:
        worker = self._worker_of(task)
        if worker is None:
            return None
        answer = self.celery.control.inspect([worker], timeout=ANSWERS_WITHIN_S).active()
        # It may have ended its task while it was asked.
        if self._worker_of(task) is None:
            return None
        if answer is None:
            return self._silence(task, worker)
        self._silent_since.pop(task, None)
        is_at_it = task in {one["id"] for one in answer[worker]}
        return None if is_at_it else f"the worker {worker} was started again, and is not at it"

    def _silence(self, task: str, worker: str) -> str | None:
        silent_s = time.monotonic() - self._silent_since.setdefault(task, time.monotonic())
        if silent_s < LOST_AFTER_S:
            return None
        return f"the worker {worker} has not answered for {silent_s:.0f} s"

    def _worker_of(self, task: str) -> str | None:
        """Name of the worker that has begun a task; None where it has ended."""
        known = self.celery.backend.get_task_meta(task)
        return known["result"]["hostname"] if known["status"] == _STARTED else None
