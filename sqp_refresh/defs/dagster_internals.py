"""Import what Dagster keeps in private modules, so that its upgrades are checked in one place."""

from dagster._core.definitions.data_version import DATA_VERSION_TAG
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.events import RunFailureReason
from dagster._core.execution.api import execute_run_iterator
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import InstigatorState, InstigatorStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    HIDDEN_TAG_PREFIX,
    PARENT_RUN_ID_TAG,
    PARTITION_NAME_TAG,
    RETRY_NUMBER_TAG,
    ROOT_RUN_ID_TAG,
    SCHEDULE_NAME_TAG,
    SENSOR_NAME_TAG,
    SYSTEM_TAG_PREFIX,
    USER_EDITABLE_SYSTEM_TAGS,
    WILL_RETRY_TAG,
)
from dagster._utils.interrupts import raise_interrupts_as
from dagster._utils.schedules import (
    cron_string_iterator,
    is_valid_cron_string,
    reverse_cron_string_iterator,
)

__all__ = [
    "ASSET_PARTITION_RANGE_END_TAG",
    "ASSET_PARTITION_RANGE_START_TAG",
    "DATA_VERSION_TAG",
    "FINISHED_STATUSES",
    "HIDDEN_TAG_PREFIX",
    "PARENT_RUN_ID_TAG",
    "PARTITION_NAME_TAG",
    "RETRY_NUMBER_TAG",
    "ROOT_RUN_ID_TAG",
    "SCHEDULE_NAME_TAG",
    "SENSOR_NAME_TAG",
    "SINGLETON_REPOSITORY_NAME",
    "SYSTEM_TAG_PREFIX",
    "USER_EDITABLE_SYSTEM_TAGS",
    "WILL_RETRY_TAG",
    "CheckRunHealthResult",
    "InMemoryJob",
    "InstigatorState",
    "InstigatorStatus",
    "RegisteredCodeLocationOrigin",
    "RemoteJobOrigin",
    "RemoteRepositoryOrigin",
    "RunFailureReason",
    "WorkerStatus",
    "cron_string_iterator",
    "execute_run_iterator",
    "is_valid_cron_string",
    "raise_interrupts_as",
    "reverse_cron_string_iterator",
]
