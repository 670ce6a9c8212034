"""Define the dashboard as an asset, and the sensor that draws it after each night.

It is no part of the nightly job: there, a table that failed would keep it from being drawn, on the
morning when it is needed most. Nor does it take a run of its own, which would stand beside each
night in the list of runs: the sensor draws it itself, and reports the asset as materialized.
"""

from datetime import timedelta
from typing import Any

import dagster as dg

from sqp_refresh import __version__
from sqp_refresh.defs.cron import last_tick, longest_pause, next_tick
from sqp_refresh.defs.dagster_internals import FINISHED_STATUSES
from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.defs.metadata import accepted_as_beta, dashboard_link
from sqp_refresh.defs.run_requests.code_location import is_of, location_of
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.errors import RefreshError
from sqp_refresh.monitoring.dashboard import drawing
from sqp_refresh.monitoring.dashboard.figures import Figures
from sqp_refresh.monitoring.lateness import GRACE
from sqp_refresh.postgres.session import read_clock
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.retrying import retrying
from sqp_refresh.schema_name import SCHEMA
from sqp_refresh.settings import Settings

KEY = dg.AssetKey([f"{SCHEMA}_refresh", "dashboard"])
EVERY_MINUTE_S = 60
PATIENCE = timedelta(hours=6)
"""How long the next page may be late before the last one says that it is old."""

_RECENT = 20
"""Runs among which the latest of this code location is looked for."""

_ASSET_JOB = "__ASSET_JOB"
"""What Dagster calls the runs that are launched from an asset's own page."""

draw_dashboard = dg.define_asset_job(
    "draw_dashboard",
    selection=dg.AssetSelection.assets(KEY),
    description="Draws the dashboard anew.",
)


def dashboard_asset(settings: Settings, catalog: Catalog) -> dg.AssetsDefinition:
    """Define the page, which is made from all tables' audit rows."""
    # Dagster refuses a range of weeks of all assets, if one of them has no policy of backfills.
    with accepted_as_beta():

        @dg.asset(
            key=KEY,
            deps=asset_keys(catalog.tables),
            description="One HTML page: each table now, and the last nights. Drawn after every "
            "night, however it ended.",
            group_name="monitoring",
            kinds={"html", "postgres"},
            owners=settings.owners,
            code_version=__version__,
            backfill_policy=dg.BackfillPolicy.single_run(),
            metadata={"sqp/dashboard": dashboard_link(settings)},
        )
        def page() -> dg.MaterializeResult:
            return dg.MaterializeResult(metadata=retrying()(_draw, Settings.read()))

    return page


def dashboard_sensor() -> dg.SensorDefinition:
    """Define the sensor that draws the page after each run that refreshed a table."""
    return dg.SensorDefinition(
        name="dashboard_after_each_night",
        evaluation_fn=_draw_after_run,
        minimum_interval_seconds=EVERY_MINUTE_S,
        description="Draws the dashboard after each run that refreshed a table, however it ended.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )


def _draw_after_run(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    latest = _latest_run(context)
    if latest is None:
        return dg.SkipReason("no refresh has ended yet")
    if latest == context.cursor:
        return dg.SkipReason("it was drawn after the latest run")
    try:
        metadata = _draw(Settings.read())
    except RefreshError as error:
        return dg.SkipReason(f"{error}; it is tried again at the next tick")
    drawn = dg.AssetMaterialization(KEY, metadata=metadata)
    return dg.SensorResult(asset_events=[drawn], cursor=latest)


def _latest_run(context: dg.SensorEvaluationContext) -> str | None:
    """Return the run of this code location that ended last; None where none has."""
    ended = [
        record
        for job in (daily_refresh.name, _ASSET_JOB)
        for record in context.instance.get_run_records(
            dg.RunsFilter(job_name=job, statuses=FINISHED_STATUSES),
            limit=_RECENT,
            order_by="update_timestamp",
        )
        if record.dagster_run.asset_selection != {KEY}
        and is_of(location_of(context), record.dagster_run)
    ]
    latest = max(ended, key=lambda record: record.end_time or 0, default=None)
    return latest and latest.dagster_run.run_id


def _draw(settings: Settings) -> dict[str, Any]:
    """Draw the page, and return what the UI shows of it."""
    now = read_clock(settings.database_url)
    figures = drawing.draw(
        settings.database_url,
        settings.dashboard_path,
        now,
        last_tick=last_tick(settings, now - GRACE),
        stale_after=longest_pause(settings) + PATIENCE,
        settings=settings,
        next_tick=lambda after: next_tick(settings, after),
    )
    return {"sqp/dashboard": dashboard_link(settings)} | _metadata(figures)


def _metadata(figures: Figures) -> dict[str, Any]:
    """Return what the page says, for the UI, which plots the numbers over time."""
    metadata: dict[str, Any] = {
        "sqp/verdict": figures.verdict,
        "sqp/tables_up_to_date": len(figures.tables) - len(figures.troubled),
        "sqp/tables_needing_attention": len(figures.troubled),
        "sqp/good_nights_in_a_row": figures.good_nights,
        "sqp/tables": dg.MetadataValue.table(_records(figures)),
    }
    rates = {"success_rate": figures.success_rate, "checks_passed_rate": figures.pass_rate}
    return metadata | {
        f"sqp/{name}": round(rate, 2) for name, rate in rates.items() if rate is not None
    }


def _records(figures: Figures) -> list[dg.TableRecord]:
    from sqp_refresh.monitoring.dashboard import formatting

    return [
        dg.TableRecord(
            {
                "table": table.name,
                "state": table.health.label,
                "newest data": formatting.format_newest_period(table.freshness),
                "rows": table.freshness.row_count,
            }
        )
        for table in figures.worst_first
    ]
