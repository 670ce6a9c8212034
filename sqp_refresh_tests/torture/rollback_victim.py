"""Roll search_query_performance back in a process of its own, and say when a moment has come.

The arguments are the instant to go back to and, where the process is to be killed, the name of a
moment and a number; see `victim`.
"""

import json
import sys
from datetime import datetime

from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.rollback import (
    derived_sources,
    plan_rollback,
    refresh_derived,
    roll_back,
)
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.settings import Settings
from sqp_refresh_tests.torture.victim import observed


def main() -> None:
    """Roll back all that has changed since, as the command does."""
    instant, *awaited = sys.argv[1:]
    passed = observed(*awaited)
    settings = Settings.read()
    url, catalog = settings.database_url, read_catalog(settings)
    with connect(url) as session, session.transaction():
        at = datetime.fromisoformat(instant)
        rollback = plan_rollback(session, SEARCH_QUERY_PERFORMANCE, at, None)
        sources = derived_sources(session, catalog, rollback)
    roll_back(url, rollback, keeps_history=True)
    for source in sources:
        refresh_derived(url, source, keeps_history=True)
    if not awaited:
        sys.stdout.write(json.dumps(passed))


if __name__ == "__main__":
    main()
