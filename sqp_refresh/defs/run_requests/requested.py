"""Request runs for what somebody asked for in SQL, and settle the requests by how these ended."""

from collections.abc import Iterator, Sequence
from datetime import datetime

import dagster as dg

from sqp_refresh.control.requests import (
    Request,
    RequestStatus,
    describe_run,
    read_unsettled,
    settle,
)
from sqp_refresh.defs.dagster_internals import FINISHED_STATUSES
from sqp_refresh.defs.partitions import REQUEST_TAG, range_tags
from sqp_refresh.defs.run_requests.code_location import is_of, tables_of
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.errors import Permanent, SettingsError
from sqp_refresh.ledger.ledger import published_periods
from sqp_refresh.model.periods import Period, finished_weeks, weeks_between
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.lookback import weeks_of_night, weeks_of_periods
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

UNFINISHED = [status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES]
FORCED = {"resources": {"postgres": {"config": {"force": True}}}}


def request_requested_runs(
    instance: dg.DagsterInstance,
    session: Session,
    settings: Settings,
    catalog: Catalog,
    location: str | None,
) -> Iterator[dg.RunRequest]:
    """Request a run for each request whose tables no run is refreshing; settle those that ended.

    Args:
        instance: Where the runs are, those of other code locations among them.
        session: A session with the target, in no transaction.
        settings: The first week, and the usual look-back.
        catalog: The tables that there are.
        location: Name of this code location; None where there is no other.

    Raises:
        RefreshError: Postgres cannot be read or written.
    """
    with session.transaction():
        requests = read_unsettled(session)
    if not requests:
        return
    at_work = _tables_at_work(instance, catalog, location)
    for request in requests:
        runs = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request.key}))
        if run := next((run for run in runs if is_of(location, run)), None):
            _settle_by(session, request, run)
            continue
        try:
            tables = _tables(session, catalog, request)
            weeks = _weeks(session, settings, catalog, request, tables)
        except Permanent as error:
            settle(session, request, RequestStatus.FAILED, message=str(error))
            continue
        before = next((at_work[table] for table in tables if table in at_work), None)
        at_work |= dict.fromkeys(tables, f"request {request.id}")
        # One that was launched, and has no run, was so by a process that died before it was made.
        if before and request.status == RequestStatus.PENDING:
            settle(session, request, RequestStatus.PENDING, message=f"waits for {before}")
            continue
        settle(session, request, RequestStatus.LAUNCHED)
        yield dg.RunRequest(
            run_key=request.key,
            asset_selection=asset_keys(tables),
            run_config=FORCED if request.force else {},
            tags=range_tags(str(weeks[0]), str(weeks[-1])) | {REQUEST_TAG: request.key},
        )


def _settle_by(session: Session, request: Request, run: dg.DagsterRun) -> None:
    """Settle a request by its run, which is its latest re-run where there are some."""
    if not run.is_finished:
        settle(session, request, RequestStatus.LAUNCHED, run.run_id)
        return
    is_good = run.status is dg.DagsterRunStatus.SUCCESS
    message = describe_run(session, run.run_id, is_good=is_good)
    status = RequestStatus.DONE if is_good else RequestStatus.FAILED
    settle(session, request, status, run.run_id, message)


def _tables_at_work(
    instance: dg.DagsterInstance, catalog: Catalog, location: str | None
) -> dict[str, str]:
    """Return which run is refreshing each table, or waits to."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    return {
        table: f"run {run.run_id}, which refreshes {table}"
        for run in runs
        if is_of(location, run)
        for table in tables_of(catalog, run)
    }


def _tables(session: Session, catalog: Catalog, request: Request) -> list[str]:
    """Return the names of the tables that are asked for.

    Raises:
        SettingsError: there is no such table, or none is enabled.
    """
    if request.tables:
        return [catalog.table(name).name for name in dict.fromkeys(request.tables)]
    with session.transaction():
        registrations = refresh_config.read_registrations(session)
    enabled = [
        name for name, entry in registrations.items() if entry.is_enabled and name in catalog.tables
    ]
    if not enabled:
        raise SettingsError("every table is disabled; `sqp-refresh enable --all` to refresh them")
    return enabled


def _weeks(
    session: Session,
    settings: Settings,
    catalog: Catalog,
    request: Request,
    tables: Sequence[str],
) -> list[Period]:
    """Return the weeks that are asked for; the look-back, or what was published, where none are.

    Raises:
        SettingsError: not all of them are finished weeks since REFRESH_START_DATE.
    """
    now = session.now()
    finished = finished_weeks(settings.REFRESH_START_DATE, now.date())
    if not finished:
        raise SettingsError(f"no week since {settings.REFRESH_START_DATE} has ended yet")
    if request.first_week is None and request.last_week is None:
        return _weeks_of_tables(session, settings, catalog, tables, now, force=request.force)
    first = request.first_week or finished[0].start
    last = request.last_week or finished[-1].start
    if not finished[0].start <= first <= last <= finished[-1].end:
        raise SettingsError(
            f"weeks from {first} to {last} are not all between {finished[0]} and {finished[-1]}; "
            "ask for finished weeks, or set REFRESH_START_DATE"
        )
    return list(weeks_between(first, last))


def _weeks_of_tables(
    session: Session,
    settings: Settings,
    catalog: Catalog,
    tables: Sequence[str],
    now: datetime,
    *,
    force: bool,
) -> list[Period]:
    """Return the weeks of a night of some tables or, with force, every week that they published."""
    with session.transaction():
        if force:
            periods = [
                period
                for name in tables
                for period in published_periods(session, catalog.table(name))
            ]
            return weeks_of_periods(settings, periods, now.date())
        registrations = refresh_config.read_registrations(session)
    params = [
        registrations[name].sync_params_if_readable for name in tables if name in registrations
    ]
    return weeks_of_night(settings, params, now)
