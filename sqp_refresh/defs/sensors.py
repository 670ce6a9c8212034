"""What keeps the nights whole without a person: late ones, failed runs, restated weeks, alerts.

All but the last only ask for runs of the nightly job; a run that turns out to have nothing to do
costs a query. None of them does anything while Postgres cannot be reached, and none forgets.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

from sqp_refresh.alerts import rules
from sqp_refresh.control import audit_log
from sqp_refresh.defs.cron import last_tick
from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.defs.partitions import TICK_TAG
from sqp_refresh.defs.run_requests.code_location import is_of, location_of
from sqp_refresh.defs.run_requests.failed import reruns
from sqp_refresh.defs.run_requests.restated import restatements
from sqp_refresh.defs.run_requests.scheduled import night_request
from sqp_refresh.errors import RefreshError
from sqp_refresh.model.periods import finished_weeks
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

Evaluation = Iterator[dg.RunRequest | dg.SkipReason]

# The schedule's own tick is given this long before a night counts as late.
GRACE = timedelta(minutes=3)
# By then the re-runs of a night that failed are done, and whatever is missing is missing.
OVERDUE_AFTER = timedelta(hours=1)
OFTEN_S = 30
EVERY_MINUTE_S = 60
TWICE_A_DAY_S = 12 * 3600


def sensors(settings: Settings, catalog: Catalog) -> list[dg.SensorDefinition]:
    """All sensors of the code location."""
    return [
        _sensor(
            "overdue_refreshes",
            "Asks for a night that its schedule could not ask for, once the registry is back.",
            EVERY_MINUTE_S,
            lambda context: _overdue(context, settings, catalog),
        ),
        _sensor(
            "failed_refreshes",
            "Closes the audit rows of runs that died, and runs again what failed and may succeed, "
            "at most three times a day for each table.",
            EVERY_MINUTE_S,
            lambda context: _failed(context, settings, catalog),
        ),
        _sensor(
            "restated_weeks",
            "Asks for weeks older than the look-back that the source has changed since.",
            TWICE_A_DAY_S,
            lambda context: _restated(context, settings, catalog),
        ),
        _sensor(
            "alert_delivery",
            "Sends the alerts that are due, and finds tables that a night has passed by.",
            OFTEN_S,
            lambda context: _alerts(context, settings),
            asks_for_runs=False,
        ),
    ]


def _sensor(
    name: str,
    about: str,
    interval_s: int,
    evaluate: Callable[..., Evaluation],
    *,
    asks_for_runs: bool = True,
) -> dg.SensorDefinition:
    def evaluation(context: dg.SensorEvaluationContext) -> Evaluation:
        try:
            yield from evaluate(context)
        except RefreshError as error:
            yield dg.SkipReason(f"{error}; it is tried again at the next tick")

    return dg.SensorDefinition(
        name=name,
        job=daily_refresh if asks_for_runs else None,
        evaluation_fn=evaluation,
        minimum_interval_seconds=interval_s,
        description=about,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )


def _overdue(
    context: dg.SensorEvaluationContext, settings: Settings, catalog: Catalog
) -> Evaluation:
    now = datetime.now(UTC)
    tick = last_tick(settings, now)
    if now - tick < GRACE:
        yield dg.SkipReason(f"the schedule's own tick of {tick} is just being evaluated")
        return
    served = context.instance.get_runs(dg.RunsFilter(tags={TICK_TAG: tick.isoformat()}))
    if any(is_of(location_of(context), run) for run in served):
        yield dg.SkipReason(f"the night of {tick} was asked for")
        return
    request = night_request(settings, catalog, tick)
    if isinstance(request, dg.RunRequest):
        request = request.with_replaced_attrs(run_key=tick.isoformat())
    yield request


def _failed(
    context: dg.SensorEvaluationContext, settings: Settings, catalog: Catalog
) -> Evaluation:
    with connect(settings.database_url) as session:
        with session.transaction():
            dead = audit_log.close_lost_runs(session)
        for table in dead:
            context.log.warning(f"the audit row of a dead refresh of {table} was closed as failed")
        location = location_of(context)
        requests = list(reruns(context.instance, session, catalog, location))
    yield from requests or [dg.SkipReason("no failed refresh is to be run again now")]


def _restated(
    context: dg.SensorEvaluationContext, settings: Settings, catalog: Catalog
) -> Evaluation:
    weeks = finished_weeks(settings.REFRESH_START_DATE, datetime.now(UTC).date())
    older = weeks[: -settings.REFRESH_LOOKBACK_WEEKS]
    with connect(settings.database_url) as session:
        requests = list(restatements(session, settings, catalog, older))
    none = f"none of {len(older)} weeks before the look-back was restated"
    yield from requests or [dg.SkipReason(none)]


def _alerts(context: dg.SensorEvaluationContext, settings: Settings) -> Evaluation:
    # The HTTP client is imported by whoever sends something.
    from sqp_refresh.alerts.delivery import deliver_due

    now, sent = datetime.now(UTC), 0
    with connect(settings.database_url) as session:
        with session.transaction():
            rules.alert_overdue(session, last_tick(settings, now - OVERDUE_AFTER), now)
        for attempt in deliver_due(session, settings):
            sent += attempt.result.error is None
            if attempt.result.error:
                context.log.warning(str(attempt))
    yield dg.SkipReason(f"alerts delivered: {sent}")
