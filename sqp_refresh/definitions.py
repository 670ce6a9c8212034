"""The code location: assembles what `defs` holds, and decides nothing."""

import dagster as dg

from sqp_refresh.defs.assets import source_asset, table_assets
from sqp_refresh.defs.io_managers import BigQuerySource, PostgresTables
from sqp_refresh.defs.jobs import daily_refresh
from sqp_refresh.defs.schedules import daily_refresh_schedule
from sqp_refresh.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster runs; loading it connects to nothing."""
    settings = Settings.read()
    return dg.Definitions(
        assets=[source_asset(settings), *table_assets(settings)],
        jobs=[daily_refresh],
        schedules=[daily_refresh_schedule(settings)],
        resources={"bigquery": BigQuerySource(), "postgres": PostgresTables()},
        # Eight short steps: processes of their own would take longer to start than the work.
        executor=dg.in_process_executor,
    )
