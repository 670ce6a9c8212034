"""The code location: assembles what `defs` holds, and decides nothing."""

import dagster as dg

from sqp_refresh import gc_tuning
from sqp_refresh.defs.asset_checks import table_checks
from sqp_refresh.defs.assets import source_assets, table_assets
from sqp_refresh.defs.executors import executor
from sqp_refresh.defs.io_managers import BigQueryIOManager, PostgresIOManager
from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.defs.jobs.dashboard_job import dashboard_asset, dashboard_sensor, draw_dashboard
from sqp_refresh.defs.jobs.maintenance_job import maintenance, maintenance_schedules
from sqp_refresh.defs.schedules import daily_refresh_schedule
from sqp_refresh.defs.sensors import sensors
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.settings import Settings


@dg.definitions
def defs() -> dg.Definitions:
    """Everything that Dagster runs; of the outside world, only the registry is read for it."""
    gc_tuning.collect_less_often()
    settings = Settings.read()
    catalog = read_catalog(settings)
    return dg.Definitions(
        assets=[
            *source_assets(settings, catalog),
            *table_assets(settings, catalog),
            dashboard_asset(settings, catalog),
        ],
        asset_checks=table_checks(settings, catalog),
        jobs=[daily_refresh, draw_dashboard, maintenance],
        schedules=[daily_refresh_schedule(settings, catalog), *maintenance_schedules()],
        sensors=[*sensors(settings, catalog), dashboard_sensor()],
        resources={"bigquery": BigQueryIOManager(), "postgres": PostgresIOManager()},
        executor=executor(settings),
    )
