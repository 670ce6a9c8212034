"""Define what status and doctor ask of the program that runs the nights.

Dagster answers, in `defs/dagster_orchestrator.py`; monitoring is below `defs`, which it does not
import.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Protocol

from sqp_refresh.settings import Settings

DAEMON_TOLERANCE = timedelta(minutes=30)
"""How long after its last heartbeat Dagster counts its daemon as dead, in its UI, too: one that has
just died looks alive for as long as that."""

_MINUTES = DAEMON_TOLERANCE.seconds // 60
DAEMON_IS_LATE = f"it counts as dead {_MINUTES} minutes after its last heartbeat"


class Orchestrator(Protocol):
    """The program that runs the nights, as monitoring sees it."""

    def load_code_location(self) -> list[str]:
        """Load the code location and return the names of its schedules and sensors.

        Raises:
            SettingsError: it does not load.
        """
        ...

    def registry_problems(self) -> list[str]:
        """Return where the code location that was loaded could not follow the registry."""
        ...

    def check_daemon(self, names: Collection[str]) -> str:
        """Return a message that the daemon lives, as far as this machine can see.

        Args:
            names: The schedules and sensors that must be switched on.

        Raises:
            Unreachable: the program's own storage cannot be read.
            Unavailable: the daemon is dead, or a schedule or sensor is switched off.
        """
        ...

    def ticks_between(self, settings: Settings, first: datetime, last: datetime) -> list[datetime]:
        """Return when the nightly schedule ticked between two instants, or should have, in order.

        Raises:
            SettingsError: REFRESH_CRON is not a cron expression.
        """
        ...

    def next_tick(self, settings: Settings, after: datetime) -> datetime:
        """Return when the nightly schedule ticks next, at an instant or after it.

        Raises:
            SettingsError: REFRESH_CRON is not a cron expression.
        """
        ...
