"""What Dagster says: whether the code location loads, the daemon lives, and when nights were due.

Dagster takes seconds to import, so nothing of it is imported before it is asked.
"""

from collections.abc import Collection
from datetime import datetime

from sqp_refresh.errors import RefreshError, SettingsError, Unavailable, one_line
from sqp_refresh.settings import Settings


def code_location() -> list[str]:
    """The names of its schedules and sensors, once it is loaded.

    Raises:
        SettingsError: it does not load.
    """
    from sqp_refresh.definitions import defs

    try:
        loaded = defs()
        loaded.validate_loadable(loaded)
    except RefreshError:
        raise
    except Exception as error:
        raise SettingsError(f"the code location does not load: {one_line(error)}") from error
    return [one.name for one in (*(loaded.schedules or ()), *(loaded.sensors or ()))]


def daemon(names: Collection[str]) -> str:
    """That the daemon lives and nothing is switched off in it, as far as can be told from here.

    Args:
        names: The schedules and sensors that must not be switched off.

    Raises:
        Unavailable: it does not live, or does not do all of its work.
    """
    from sqp_refresh.defs.instance import daemon_problems

    problems = daemon_problems(names)
    if problems:
        raise Unavailable("; ".join(problems))
    if problems is None:
        return "the daemon was not asked, because DAGSTER_HOME is not set here"
    return "the daemon lives, and no schedule or sensor is switched off"


def ticks(settings: Settings, first: datetime, last: datetime) -> list[datetime]:
    """When the nightly schedule ticked in a stretch of time, or should have.

    Raises:
        SettingsError: REFRESH_CRON is not a cron expression.
    """
    from sqp_refresh.defs.cron import ticks_between

    return ticks_between(settings, first, last)
