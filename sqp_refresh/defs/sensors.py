"""Define the sensors: for late nights, failed runs, wrong or restated weeks, requests, alerts.

All but the last only request runs of the nightly job; a run that turns out to have nothing to do
costs a query. While Postgres cannot be reached they do nothing, and make up for it afterwards. They
go by its clock, not by their machine's.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

import dagster as dg

from sqp_refresh.alerts import rules
from sqp_refresh.control import audit_log
from sqp_refresh.defs.cron import last_tick
from sqp_refresh.defs.jobs.daily_refresh import daily_refresh
from sqp_refresh.defs.partitions import TICK_TAG
from sqp_refresh.defs.run_requests.code_location import is_of, location_of
from sqp_refresh.defs.run_requests.doubted import request_doubted_periods
from sqp_refresh.defs.run_requests.failed import request_reruns
from sqp_refresh.defs.run_requests.requested import Target, request_requested_runs
from sqp_refresh.defs.run_requests.restated import request_restated_weeks
from sqp_refresh.defs.run_requests.scheduled import request_scheduled_run
from sqp_refresh.errors import RefreshError
from sqp_refresh.monitoring import lateness
from sqp_refresh.postgres.session import Session, connect, read_clock
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

Evaluation = Iterator[dg.RunRequest | dg.SkipReason]

GRACE = timedelta(minutes=3)
"""How long the schedule's own tick may take before a night counts as late."""

OFTEN_S = 30
EVERY_MINUTE_S = 60
HOURLY_S = 3600
TWICE_A_DAY_S = 12 * 3600


def sensors(settings: Settings, catalog: Catalog) -> list[dg.SensorDefinition]:
    """Define all sensors of the code location but the dashboard's."""
    return [
        _sensor(
            "overdue_refreshes",
            "Requests the run of a night that the schedule could not request, once the registry is "
            "back.",
            EVERY_MINUTE_S,
            lambda context: _request_overdue_run(context, settings, catalog),
        ),
        _sensor(
            "failed_refreshes",
            "Closes the audit rows of runs that died, and runs again what failed and may succeed, "
            "at most three times a day for each table.",
            EVERY_MINUTE_S,
            lambda context: _request_reruns(context, settings, catalog),
        ),
        _sensor(
            "restated_weeks",
            "Requests weeks that the source has restated behind the look-back of their table.",
            TWICE_A_DAY_S,
            lambda context: _request_restated_weeks(context, settings, catalog),
        ),
        _sensor(
            "doubted_periods",
            "Requests periods of any age that a check has found to differ from their source.",
            HOURLY_S,
            lambda context: _request_doubted_periods(settings, catalog),
        ),
        _sensor(
            "requested_refreshes",
            "Requests what somebody asked for by request_refresh in SQL, and settles the requests.",
            OFTEN_S,
            lambda context: _request_requested_runs(context, settings, catalog),
        ),
        _sensor(
            "alert_delivery",
            "Sends the alerts that are due, finds tables that a night has passed by, and calls "
            "REFRESH_HEARTBEAT_URL.",
            OFTEN_S,
            lambda context: _deliver_alerts(context, settings),
            requests_runs=False,
        ),
    ]


def _sensor(
    name: str,
    description: str,
    interval_s: int,
    evaluate: Callable[..., Evaluation],
    *,
    requests_runs: bool = True,
) -> dg.SensorDefinition:
    """Define a sensor that skips what it cannot do now, and says why."""

    def evaluation(context: dg.SensorEvaluationContext) -> Evaluation:
        try:
            yield from evaluate(context)
        except RefreshError as error:
            yield dg.SkipReason(f"{error}; it is tried again at the next tick")

    return dg.SensorDefinition(
        name=name,
        job=daily_refresh if requests_runs else None,
        evaluation_fn=evaluation,
        minimum_interval_seconds=interval_s,
        description=description,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )


def _request_overdue_run(
    context: dg.SensorEvaluationContext, settings: Settings, catalog: Catalog
) -> Evaluation:
    now = read_clock(settings.database_url)
    tick = last_tick(settings, now)
    if now - tick < GRACE:
        yield dg.SkipReason(f"the schedule's own tick of {tick} is just being evaluated")
        return
    runs = context.instance.get_runs(dg.RunsFilter(tags={TICK_TAG: tick.isoformat()}))
    if any(is_of(location_of(context), run) for run in runs):
        yield dg.SkipReason(f"the night of {tick} was requested")
        return
    request = request_scheduled_run(settings, catalog, tick)
    if isinstance(request, dg.RunRequest):
        request = request.with_replaced_attrs(run_key=tick.isoformat())
    yield request


def _request_reruns(
    context: dg.SensorEvaluationContext, settings: Settings, catalog: Catalog
) -> Evaluation:
    with connect(settings.database_url) as session:
        with session.transaction():
            closed = audit_log.close_lost_runs(session)
        for table in closed:
            context.log.warning(f"the audit row of a dead refresh of {table} was closed as failed")
        location = location_of(context)
        requests = list(request_reruns(context.instance, session, catalog, location))
    yield from requests or [dg.SkipReason("no failed refresh is to be run again now")]


def _request_restated_weeks(
    context: dg.SensorEvaluationContext, settings: Settings, catalog: Catalog
) -> Evaluation:
    with connect(settings.database_url) as session:
        requests, problems = request_restated_weeks(session, settings, catalog, session.now())
    for problem in problems:
        context.log.warning(problem)
    reason = "; ".join(problems) or "no week behind the look-back of its table was restated"
    yield from requests or [dg.SkipReason(reason)]


def _request_doubted_periods(settings: Settings, catalog: Catalog) -> Evaluation:
    with connect(settings.database_url) as session:
        requests = list(request_doubted_periods(session, settings, catalog, session.now()))
    yield from requests or [dg.SkipReason("no period is known to differ from its source")]


def _request_requested_runs(
    context: dg.SensorEvaluationContext, settings: Settings, catalog: Catalog
) -> Evaluation:
    location = location_of(context)
    with connect(settings.database_url) as session:
        target = Target(session, settings, catalog, location)
        requests = list(request_requested_runs(context.instance, target))
    yield from requests or [dg.SkipReason("no refresh was asked for that could be launched now")]


def _deliver_alerts(context: dg.SensorEvaluationContext, settings: Settings) -> Evaluation:
    # The HTTP client takes time to import, and only this needs it.
    from sqp_refresh.alerts import digest
    from sqp_refresh.alerts.delivery import deliver_due

    sent = 0
    with connect(settings.database_url) as session:
        now = session.now()
        with session.transaction():
            tick = last_tick(settings, now - lateness.GRACE)
            overdue = rules.alert_overdue(session, tick, now)
            digest.send_if_due(session, settings, now)
        # Before the alerts: a receiver that does not answer must not make the daemon look dead.
        _beat(context, session, settings, overdue, now)
        for attempt in deliver_due(session, settings):
            sent += attempt.result.error is None
            if attempt.result.error:
                context.log.warning(str(attempt))
    yield dg.SkipReason(f"alerts delivered: {sent}")


def _beat(
    context: dg.SensorEvaluationContext,
    session: Session,
    settings: Settings,
    overdue: Sequence[str],
    now: datetime,
) -> None:
    from sqp_refresh.alerts.heartbeat import beat_if_due

    cursor, result = beat_if_due(session, settings, overdue, context.cursor, now)
    if cursor != context.cursor:
        context.update_cursor(cursor or "")
    if result and result.error:
        context.log.warning(f"REFRESH_HEARTBEAT_URL {result.error}")
