"""Request the run of a night: the enabled tables that are due, over their look-back."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from sqp_refresh.defs.partitions import TICK_TAG, range_tags
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.model.text import utc_minute
from sqp_refresh.postgres.session import connect, read_clock
from sqp_refresh.refresh.lookback import weeks_of_night
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

EARLY = timedelta(seconds=30)
"""How much too early a tick may come, by Postgres's clock, which decides what is due."""


def reason_to_wait(settings: Settings, tick: datetime) -> str | None:
    """Return why a tick has to be waited for: its time has not come by Postgres's clock.

    Then the clock of the schedule's machine is ahead. The sensor `overdue_refreshes` goes by
    Postgres's clock, and requests the night when it has come.

    Raises:
        RefreshError: Postgres cannot be asked.
    """
    now = read_clock(settings.database_url)
    if tick <= now + EARLY:
        return None
    return (
        f"{utc_minute(tick)} has not come yet: by the clock of Postgres it is {utc_minute(now)}. "
        "overdue_refreshes requests the night then; set this machine's clock by NTP"
    )


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
