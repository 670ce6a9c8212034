"""Where the steps of a run are executed; where runs are launched is for `dagster.yaml` to say."""

import dagster as dg

from sqp_refresh.settings import Executor, Settings

_EXECUTORS = {
    # Eight short steps: processes of their own would take longer to start than the work.
    Executor.IN_PROCESS: dg.in_process_executor,
    Executor.MULTIPROCESS: dg.multiprocess_executor,
}


def executor(settings: Settings) -> dg.ExecutorDefinition:
    """What REFRESH_EXECUTOR names."""
    return _EXECUTORS[settings.REFRESH_EXECUTOR]
