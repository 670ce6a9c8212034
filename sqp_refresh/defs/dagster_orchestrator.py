"""Tell monitoring what Dagster knows: whether the code location loads, and the daemon lives."""

from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from sqp_refresh.defs.cron import next_tick, ticks_between
from sqp_refresh.defs.dagster_internals import InstigatorState, InstigatorStatus
from sqp_refresh.defs.instance_storage import ask_instance, has_home
from sqp_refresh.defs.metadata import REGISTRY_PROBLEMS
from sqp_refresh.defs.run_requests.code_location import locations_of_schema
from sqp_refresh.errors import RefreshError, SettingsError, Unavailable, one_line
from sqp_refresh.model.text import utc_minute
from sqp_refresh.monitoring.orchestrator import DAEMON_IS_LATE, Orchestrator
from sqp_refresh.settings import Settings


class DagsterOrchestrator(Orchestrator):
    """Dagster, with one code location.

    Args:
        defs: Assembles the code location, e.g. `sqp_refresh.definitions.defs`.
    """

    def __init__(self, defs: Callable[[], dg.Definitions]) -> None:
        self._defs = defs
        self._registry_problems: list[str] = []

    def load_code_location(self) -> list[str]:
        """Load the code location and return the names of its schedules and sensors.

        Raises:
            SettingsError: it does not load.
        """
        try:
            definitions = self._defs()
            dg.Definitions.validate_loadable(definitions)
        except RefreshError:
            raise
        except Exception as error:
            raise SettingsError(f"the code location does not load: {one_line(error)}") from error
        problems: Any = definitions.metadata[REGISTRY_PROBLEMS].value
        self._registry_problems = list(problems)
        schedules, sensors = definitions.schedules or (), definitions.sensors or ()
        return [instigator.name for instigator in (*schedules, *sensors)]

    def registry_problems(self) -> list[str]:
        """Return where the code location that was loaded could not follow the registry."""
        return self._registry_problems

    def check_daemon(self, names: Collection[str]) -> str:
        """Return a message that the daemon lives; without DAGSTER_HOME it cannot be asked.

        Args:
            names: The schedules and sensors that must be switched on.

        Raises:
            Unreachable: Dagster's storage cannot be read.
            Unavailable: the daemon is dead, or a schedule or sensor is switched off.
        """
        if not has_home():
            return "the daemon was not asked, because DAGSTER_HOME is not set here"
        problems = ask_instance(
            lambda instance: [*_dead_daemons(instance), *_switched_off(instance, names)]
        )
        if problems:
            raise Unavailable("; ".join(problems))
        return f"the daemon lives ({DAEMON_IS_LATE}), and no schedule or sensor is switched off"

    def ticks_between(self, settings: Settings, first: datetime, last: datetime) -> list[datetime]:
        """Return when the nightly schedule ticked between two instants, or should have, in order.

        Raises:
            SettingsError: REFRESH_CRON is not a cron expression.
        """
        return ticks_between(settings, first, last)

    def next_tick(self, settings: Settings, after: datetime) -> datetime:
        """Return when the nightly schedule ticks next, at an instant or after it.

        Raises:
            SettingsError: REFRESH_CRON is not a cron expression.
        """
        return next_tick(settings, after)


def _dead_daemons(instance: dg.DagsterInstance) -> list[str]:
    """Describe the daemons without a recent heartbeat: half an hour, as in the Dagster UI."""
    statuses = instance.get_daemon_statuses().values()
    dead = sorted(
        status.daemon_type.lower() for status in statuses if status.required and not status.healthy
    )
    if not dead:
        return []
    beats = [status.last_heartbeat.timestamp for status in statuses if status.last_heartbeat]
    since = (
        f"since {utc_minute(datetime.fromtimestamp(max(beats), UTC))}"
        if beats
        else "and has never lived"
    )
    return [
        f"the Dagster daemon is dead {since} ({', '.join(dead)}); start `dagster-daemon run`, or "
        "`dg dev`, with this DAGSTER_HOME"
    ]


def _location_of(state: InstigatorState) -> str:
    return state.origin.repository_origin.code_location_origin.location_name


def _switched_off(instance: dg.DagsterInstance, names: Collection[str]) -> list[str]:
    """Describe the schedules and sensors of our code location that somebody switched off."""
    states = instance.all_instigator_state(instigator_statuses={InstigatorStatus.STOPPED})
    stopped = {state.instigator_name for state in states} & set(names)
    if stopped and (ours := locations_of_schema(instance)):
        stopped &= {state.instigator_name for state in states if _location_of(state) in ours}
    return [
        f"{name} is switched off in Dagster; switch it on in the UI under Automation"
        for name in sorted(stopped)
    ]
