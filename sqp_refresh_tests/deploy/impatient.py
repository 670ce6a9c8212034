"""Load the code location with pauses of seconds, where those of production are minutes."""

from datetime import timedelta

from sqp_refresh.defs import sensors
from sqp_refresh.defs.run_requests import failed

failed.PAUSES = tuple(timedelta(seconds=5 * number) for number in (1, 2, 3))
sensors.EVERY_MINUTE_S = 5

from sqp_refresh.definitions import defs  # noqa: E402, the pauses are read when it is loaded

__all__ = ["defs"]
