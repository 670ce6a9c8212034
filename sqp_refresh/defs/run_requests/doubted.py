"""Request runs for periods that do not hold what their source says, or that somebody else changed.

Any refresh of a table makes such periods again. This one comes within the hour in which a check has
found them, and not with the next night.
"""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.ledger.ledger import hash_json
from sqp_refresh.ledger.verdicts import periods_to_reload
from sqp_refresh.model.periods import finished_weeks
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings


def request_doubted_periods(
    session: Session, settings: Settings, catalog: Catalog, now: datetime
) -> Iterator[dg.RunRequest]:
    """Request one run of the enabled tables with such periods, and of those derived from them.

    Args:
        session: A session with the target.
        settings: The first week.
        catalog: The tables that there are.
        now: The time by which weeks have ended, in UTC.

    Raises:
        RefreshError: Postgres cannot be read.
    """
    registrations = refresh_config.read_registrations(session)
    enabled = {name for name, registration in registrations.items() if registration.is_enabled}
    tables = [table for name, table in catalog.tables.items() if name in enabled]
    doubted = periods_to_reload(session, tables)
    weeks = finished_weeks(settings.REFRESH_START_DATE, now.date())
    if not doubted or not weeks:
        return
    periods = {name: list(map(str, of_table)) for name, of_table in doubted.items()}
    newest = str(weeks[-1])
    yield dg.RunRequest(
        # What is found again although it was made again is requested once a day.
        run_key=f"{now.date()} {hash_json(periods)}",
        asset_selection=asset_keys(
            name for name in catalog.with_derived(list(doubted)) if name in enabled
        ),
        # The refresh knows the periods: some may be older than the first partition.
        tags=range_tags(newest, newest),
    )
