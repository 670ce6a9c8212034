"""Define the nightly job: all tables in one run, in the order of their dependencies."""

import dagster as dg

from sqp_refresh.model.tables import SCHEMA

daily_refresh = dg.define_asset_job(
    "daily_refresh",
    selection=dg.AssetSelection.key_prefixes([SCHEMA]).materializable(),
    description="Refreshes every table from BigQuery, then the tables derived from it.",
)
