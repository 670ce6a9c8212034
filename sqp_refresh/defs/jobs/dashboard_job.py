"""The dashboard as an asset, and the sensor that has it drawn after each night, however it ended.

It is no part of the nightly job: there, a table that failed would keep it from being drawn, on the
one morning when it is wanted most.
"""

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from sqp_refresh import __version__
from sqp_refresh.defs.cron import last_tick, longest_pause
from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.defs.metadata import OWNERS, dashboard_link
from sqp_refresh.defs.run_requests.code_location import is_of, location_of
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.monitoring.dashboard import drawing
from sqp_refresh.monitoring.dashboard.figures import Figures
from sqp_refresh.monitoring.lateness import GRACE
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.retrying import retrying
from sqp_refresh.settings import Settings

KEY = dg.AssetKey(["sqp_refresh", "dashboard"])
EVERY_MINUTE_S = 60
PATIENCE = timedelta(hours=6)
"""How long the next page may be late before the last one says that it is old."""

# Runs among which the latest of this code location is looked for.
_RECENT = 20
# What Dagster calls the runs that are launched from an asset's own page.
_ASSET_JOB = "__ASSET_JOB"

draw_dashboard = dg.define_asset_job(
    "draw_dashboard",
    selection=dg.AssetSelection.assets(KEY),
    description="Draws the dashboard anew.",
)


def dashboard_asset(settings: Settings, catalog: Catalog) -> dg.AssetsDefinition:
    """The page, made from all tables' audit rows."""
    with warnings.catch_warnings():
        # A command line that asks for a range of weeks of everything asks for this too.
        warnings.filterwarnings("ignore", "Parameter `backfill_policy`", dg.BetaWarning)

        @dg.asset(
            key=KEY,
            deps=asset_keys(catalog.tables),
            description="One HTML page: each table now, and the last nights. Drawn after every "
            "night, however it ended.",
            group_name="monitoring",
            kinds={"html", "postgres"},
            owners=OWNERS,
            code_version=__version__,
            backfill_policy=dg.BackfillPolicy.single_run(),
            metadata={"sqp/dashboard": dashboard_link(settings)},
        )
        def page() -> dg.MaterializeResult:
            return dg.MaterializeResult(metadata=_drawn(Settings.read()))

    return page


def dashboard_sensor() -> dg.SensorDefinition:
    """Asks for the page after each run that refreshed a table, whether it succeeded or not."""
    return dg.SensorDefinition(
        name="dashboard_after_each_night",
        job=draw_dashboard,
        evaluation_fn=_after_the_latest,
        minimum_interval_seconds=EVERY_MINUTE_S,
        description="Has the dashboard drawn after each run that refreshed a table, however it "
        "ended.",
        default_status=dg.DefaultSensorStatus.RUNNING,
    )


def _after_the_latest(
    context: dg.SensorEvaluationContext,
) -> Iterator[dg.RunRequest | dg.SkipReason]:
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
    if not ended:
        yield dg.SkipReason("no refresh has ended yet")
        return
    latest = max(ended, key=lambda record: record.end_time or 0)
    # The same run is asked for once.
    yield dg.RunRequest(run_key=latest.dagster_run.run_id)


def _drawn(settings: Settings) -> dict[str, Any]:
    now = datetime.now(UTC)
    figures = retrying()(
        drawing.draw,
        settings.database_url,
        settings.dashboard_path,
        now,
        last_tick=last_tick(settings, now - GRACE),
        stale_after=longest_pause(settings) + PATIENCE,
    )
    return {"sqp/dashboard": dashboard_link(settings)} | _told(figures)


def _told(figures: Figures) -> dict[str, Any]:
    """What the page says, for those who look at it in the UI; numbers are plotted over time."""
    told: dict[str, Any] = {
        "sqp/verdict": figures.verdict,
        "sqp/tables_up_to_date": len(figures.tables) - len(figures.troubled),
        "sqp/tables_needing_attention": len(figures.troubled),
        "sqp/good_nights_in_a_row": figures.good_nights,
        "sqp/tables": dg.MetadataValue.table(_records(figures)),
    }
    rates = {"success_rate": figures.success_rate, "checks_passed_rate": figures.pass_rate}
    return told | {f"sqp/{name}": rate for name, rate in rates.items() if rate is not None}


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
