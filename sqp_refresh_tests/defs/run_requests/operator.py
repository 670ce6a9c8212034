"""Launch runs, and evaluate the schedule and the sensors, at times of a test's own choosing."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests import failed
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.extract import client
from sqp_refresh.postgres.session import Session
from sqp_refresh_tests.helpers.code_location import code_location
from sqp_refresh_tests.helpers.weeks import FIRST, LAST

NOWHERE = "http://127.0.0.1:1"
FORCED = {"resources": {"postgres": {"config": {"force": True}}}}

Config = Mapping[str, Any]


class Operator:
    """Launches runs, and evaluates the schedule and the sensors.

    Attributes:
        instance: Where the runs are.
    """

    def __init__(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        self.instance = instance
        self._monkeypatch = monkeypatch

    def run(
        self, tables: Collection[str] | None = None, config: Config | None = None, **tags: str
    ) -> dg.ExecuteInProcessResult:
        """Run the nightly job; over the three weeks, unless the tags name others."""
        job = code_location().resolve_job_def("daily_refresh")
        return job.execute_in_process(
            instance=self.instance,
            run_config=config,
            tags=range_tags(str(FIRST), str(LAST)) | tags,
            asset_selection=None if tables is None else asset_keys(tables),
            raise_on_error=False,
        )

    def run_without_bigquery(
        self, tables: Collection[str] | None = None, config: Config | None = None, **tags: str
    ) -> dg.ExecuteInProcessResult:
        """Run the nightly job while BigQuery cannot be reached."""
        with self._monkeypatch.context() as unreachable:
            unreachable.setenv("BIGQUERY_EMULATOR_HOST", NOWHERE)
            unreachable.setattr(client, "CALL_DEADLINE_S", 0.3)
            return self.run(tables, config, **tags)

    def launch(self, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
        """Run what a schedule or a sensor requested."""
        return self.run(requested_tables(request), request.run_config, **request.tags)

    def tick(self, at: datetime) -> dg.RunRequest:
        """Evaluate the schedule, which requests a run."""
        schedule = code_location().resolve_schedule_def("daily_refresh_schedule")
        context = dg.build_schedule_context(instance=self.instance, scheduled_execution_time=at)
        (request,) = schedule.evaluate_tick(context).run_requests or []
        return request

    def sense(
        self,
        name: str = "failed_refreshes",
        *,
        after: timedelta = timedelta(),
        at: datetime | None = None,
    ) -> list[dg.RunRequest]:
        """Evaluate a sensor, some time from now or at an instant.

        That is so by the clock of Postgres, and for re-runs by that of Dagster's machine.
        """
        time_then = at or datetime.now(UTC) + after

        class Clock(datetime):
            @classmethod
            def now(cls, tz=None):
                return time_then

        with self._monkeypatch.context() as later:
            later.setattr(failed, "datetime", Clock)
            later.setattr(Session, "now", lambda _: time_then)
            context = dg.build_sensor_context(instance=self.instance, definitions=code_location())
            return list(
                code_location().resolve_sensor_def(name).evaluate_tick(context).run_requests or []
            )


def requested_tables(request: dg.RunRequest | None) -> set[str]:
    """Return the tables of a requested run."""
    assert request, "no run was requested"
    return {key.path[-1] for key in request.asset_selection or ()}


def requested_weeks(request: dg.RunRequest | None) -> tuple[str, str]:
    """Return the first and the last week of a requested run."""
    assert request, "no run was requested"
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    return request.tags[first], request.tags[last]
