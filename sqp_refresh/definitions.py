"""Assemble the code location from what `defs` defines."""

import logging

import dagster as dg

from sqp_refresh import gc_tuning
from sqp_refresh.defs.asset_checks import table_checks
from sqp_refresh.defs.assets import (
    source_assets,
    table_assets,
    unusable_assets,
    view_assets,
)
from sqp_refresh.defs.io_managers import PostgresIOManager, bigquery_io_manager
from sqp_refresh.defs.jobs.check_job import check_every_period, weekly_check_schedule
from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.defs.jobs.dashboard_job import dashboard_asset, dashboard_sensor, draw_dashboard
from sqp_refresh.defs.jobs.maintenance_job import maintenance, maintenance_schedules
from sqp_refresh.defs.metadata import REGISTRY_PROBLEMS, with_code_references
from sqp_refresh.defs.schedules import daily_refresh_schedule
from sqp_refresh.defs.sensors import sensors
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.registry.catalog import Catalog, problem_of, read_catalog
from sqp_refresh.settings import Executor, Settings

logger = logging.getLogger(__name__)

_EXECUTORS = {
    # Eight short steps: processes of their own would take longer to start than the work.
    Executor.IN_PROCESS: dg.in_process_executor,
    Executor.MULTIPROCESS: dg.multiprocess_executor,
}
"""Where the steps of a run are executed; `dagster.yaml` says where runs are launched."""


@dg.definitions
def defs() -> dg.Definitions:
    """Define everything that Dagster runs; of the outside world, only the registry is read."""
    settings = Settings.read()
    return build_definitions(settings, read_catalog(settings))


def build_definitions(
    settings: Settings, catalog: Catalog, queries: RunQueries | None = None
) -> dg.Definitions:
    """Define everything that Dagster runs, for some tables.

    Args:
        settings: What the environment sets.
        catalog: The tables that there are.
        queries: The queries that this process has begun for the one run that it is about to do;
            None where each run begins its own.
    """
    gc_tuning.collect_less_often()
    if catalog.registered:
        try:
            return _loaded(_assemble(settings, catalog, queries))
        except Exception:
            catalog = _without_what_does_not_load(settings, catalog)
    return _assemble(settings, catalog, queries)


def _without_what_does_not_load(settings: Settings, catalog: Catalog) -> Catalog:
    """Leave out the registered tables with which the code location does not load, and say so."""
    registered = catalog.registered
    for number, name in enumerate(registered, start=1):
        so_far = catalog
        for later in registered[number:]:
            so_far = so_far.without(later, "")
        try:
            _loaded(_assemble(settings, so_far, None))
        except Exception as error:
            catalog = catalog.without(name, problem_of(name, error))
            logger.warning("%s", catalog.unusable[name])
    return catalog


def _loaded(definitions: dg.Definitions) -> dg.Definitions:
    """Resolve every job now, which is kept; what does not fit together is raised."""
    definitions.get_repository_def().load_all_definitions()
    return definitions


def _assemble(settings: Settings, catalog: Catalog, queries: RunQueries | None) -> dg.Definitions:
    return dg.Definitions(
        assets=with_code_references(
            [
                *source_assets(settings, catalog),
                *unusable_assets(settings, catalog),
                *view_assets(settings, catalog),
                *table_assets(settings, catalog),
                dashboard_asset(settings, catalog),
            ]
        ),
        asset_checks=table_checks(catalog),
        jobs=[daily_refresh, draw_dashboard, check_every_period, maintenance],
        schedules=[
            daily_refresh_schedule(settings, catalog),
            weekly_check_schedule,
            *maintenance_schedules(),
        ],
        sensors=[*sensors(settings, catalog), dashboard_sensor()],
        resources={"bigquery": bigquery_io_manager(queries), "postgres": PostgresIOManager()},
        executor=_EXECUTORS[settings.REFRESH_EXECUTOR],
        metadata={REGISTRY_PROBLEMS: catalog.problems},
    )
