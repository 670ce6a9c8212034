"""Describe an asset to the UI: its owners, its links, its columns, and when it is late."""

from datetime import timedelta

import dagster as dg

from sqp_refresh.defs.cron import longest_pause
from sqp_refresh.model.lineage import origins
from sqp_refresh.model.tables import PERCENT, PRICE, SCHEMA, Column, Table
from sqp_refresh.settings import Settings

REGISTRY_PROBLEMS = "sqp/registry_differs"
"""Where the registry cannot be followed: of one asset, or of the whole code location."""

OWNERS = ["team:data-engineering"]

# A night may take this long before a table counts as late, and this long before it counts as lost.
LATE, LOST = timedelta(hours=2), timedelta(hours=12)


def dashboard_link(settings: Settings) -> dg.MetadataValue:
    """Return a link to the dashboard: its address where it is served, else its file."""
    if settings.REFRESH_DASHBOARD_URL:
        return dg.MetadataValue.url(settings.REFRESH_DASHBOARD_URL)
    return dg.MetadataValue.path(settings.dashboard_path)


def freshness(settings: Settings, table: Table) -> dg.FreshnessPolicy:
    """Return when a table is late: some hours after the night that should have refreshed it.

    Every night refreshes a table, whether or not the source has anything new, so this says that
    the nights go on. How late Amazon and the vendor are is for the check `data_is_fresh`.
    """
    usual = max(longest_pause(settings), timedelta(hours=table.frequency_hours))
    return dg.FreshnessPolicy.time_window(fail_window=usual + LOST, warn_window=usual + LATE)


def with_unit(column: Column) -> str:
    """Return what a column means, with its unit where the words do not say it."""
    unit = {PERCENT: "percent", PRICE: "in the marketplace's currency"}.get(column.type)
    return f"{column.description} ({unit})" if unit else column.description


def column_lineage(table: Table, source: dg.AssetKey | None) -> dg.TableColumnLineage:
    """Return the columns that each column is made from.

    Args:
        table: The table.
        source: The key of the table in BigQuery that fills it; None for a derived table.
    """

    def key_of(parent: str | None) -> dg.AssetKey:
        if parent is not None:
            return dg.AssetKey([SCHEMA, parent])
        assert source is not None, "a derived table has no column from BigQuery"
        return source

    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(key_of(parent), name) for parent, name in made_from]
            for column, made_from in origins(table).items()
        }
    )
