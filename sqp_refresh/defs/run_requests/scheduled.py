"""What a night asks for: the enabled tables that are due, over the look-back, in one run."""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime

import dagster as dg

from sqp_refresh.defs.partitions import TICK_TAG, range_tags, weekly_partitions
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.registry.refresh_config import Registration
from sqp_refresh.settings import Settings


def night_request(
    settings: Settings, catalog: Catalog, tick: datetime
) -> dg.RunRequest | dg.SkipReason:
    """The run that a tick of the schedule asks for, or why it asks for none.

    Raises:
        RefreshError: the registry cannot be read.
    """
    with connect(settings.database_url) as session:
        due = [
            one for one in refresh_config.due_tables(session, tick) if one.table in catalog.tables
        ]
    if not due:
        return dg.SkipReason(f"no enabled table is due at {tick:%Y-%m-%d %H:%M} UTC")
    weeks = look_back(settings, due, tick)
    if not weeks:
        return dg.SkipReason(f"no week since {settings.REFRESH_START_DATE} has ended yet")
    return dg.RunRequest(
        asset_selection=asset_keys(one.table for one in due),
        tags=range_tags(weeks[0], weeks[-1]) | {TICK_TAG: tick.astimezone(UTC).isoformat()},
    )


def look_back(settings: Settings, due: Collection[Registration], tick: datetime) -> list[str]:
    """Partition keys of the weeks to look at: the longest look-back of all tables that are due.

    A table whose own is shorter trims them when it is refreshed.
    """
    usual = settings.REFRESH_LOOKBACK_WEEKS
    longest = max((one.sync_params.lookback_weeks or usual for one in due), default=usual)
    weeks = weekly_partitions(settings.REFRESH_START_DATE)
    return list(weeks.get_partition_keys(current_time=tick))[-longest:]


def asset_keys(tables: Iterable[str]) -> list[dg.AssetKey]:
    """The asset keys of tables."""
    return [dg.AssetKey([SCHEMA, table]) for table in tables]
