"""Request the run of a night: the enabled tables that are due, over their look-back."""

from collections.abc import Iterable
from datetime import UTC, datetime

import dagster as dg

from sqp_refresh.defs.partitions import TICK_TAG, range_tags
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.model.text import utc_minute
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.lookback import weeks_of_night
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings


def request_scheduled_run(
    settings: Settings, catalog: Catalog, tick: datetime
) -> dg.RunRequest | dg.SkipReason:
    """Return the run that a tick of the schedule requests, or why it requests none.

    The run reads BigQuery as of its start, not as of the tick: it may wait in a queue for hours.

    Args:
        settings: Where the registry is, and the usual look-back.
        catalog: The tables that there are.
        tick: When the schedule ticked, or should have.

    Raises:
        RefreshError: the registry cannot be read.
    """
    tick = tick.astimezone(UTC)
    with connect(settings.database_url) as session:
        registrations = refresh_config.due_tables(session, tick)
    due = [registration for registration in registrations if registration.table in catalog.tables]
    if not due:
        return dg.SkipReason(f"no enabled table is due at {utc_minute(tick)}")
    params = [registration.sync_params_if_readable for registration in due]
    weeks = weeks_of_night(settings, params, tick)
    if not weeks:
        return dg.SkipReason(f"no week since {settings.REFRESH_START_DATE} has ended yet")
    return dg.RunRequest(
        asset_selection=asset_keys(registration.table for registration in due),
        tags=range_tags(str(weeks[0]), str(weeks[-1])) | {TICK_TAG: tick.isoformat()},
    )


def asset_keys(tables: Iterable[str]) -> list[dg.AssetKey]:
    """Return the asset keys of tables, given by name."""
    return [dg.AssetKey([SCHEMA, table]) for table in tables]
