"""Request runs for what somebody asked for in SQL, and settle the requests by how these ended."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from sqp_refresh.registry.refresh_config import Registration
from sqp_refresh.settings import Settings

UNFINISHED = [status for status in dg.DagsterRunStatus if status not in FINISHED_STATUSES]
FORCED = {"resources": {"postgres": {"config": {"force": True}}}}


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a code location.

    Attributes:
        session: A session with it, in no transaction.
        settings: The first week, and the usual look-back.
        catalog: The tables that there are.
        location: Name of the code location; None where there is no other.
    """

    session: Session
    settings: Settings
    catalog: Catalog
    location: str | None


def request_requested_runs(instance: dg.DagsterInstance, target: Target) -> Iterator[dg.RunRequest]:
    """Request a run for each request whose tables no run is refreshing; settle those that ended.

    Args:
        instance: Where the runs are, those of other code locations among them.
        target: Where the requests are.

    Raises:
        RefreshError: Postgres cannot be read or written.
    """
    with target.session.transaction():
        requests = read_unsettled(target.session)
    at_work = _tables_at_work(instance, target) if requests else {}
    for request in requests:
        runs = instance.get_runs(dg.RunsFilter(tags={REQUEST_TAG: request.key}))
        if run := next((run for run in runs if is_of(target.location, run)), None):
            _settle_by(target.session, request, run)
            continue
        try:
            yield from _launch(target, request, at_work)
        except Permanent as error:
            settle(target.session, request, RequestStatus.FAILED, message=str(error))


def _launch(target: Target, request: Request, at_work: dict[str, str]) -> Iterator[dg.RunRequest]:
    """Request the run of a request, unless another run, or an earlier request, has its tables."""
    tables = _tables(target, request)
    weeks = _weeks(target, request, tables)
    before = next((at_work[table] for table in tables if table in at_work), None)
    at_work |= dict.fromkeys(tables, f"request {request.id}")
    # One that was launched, and has no run, was so by a process that died before it was made.
    if before and request.status == RequestStatus.PENDING:
        settle(target.session, request, RequestStatus.PENDING, message=f"waits for {before}")
        return
    settle(target.session, request, RequestStatus.LAUNCHED)
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
    if run.status is dg.DagsterRunStatus.CANCELED:
        message = "its run was canceled"
    else:
        message = describe_run(session, run.run_id, is_good=is_good)
    status = RequestStatus.DONE if is_good else RequestStatus.FAILED
    settle(session, request, status, run.run_id, message)


def _tables_at_work(instance: dg.DagsterInstance, target: Target) -> dict[str, str]:
    """Return which run is refreshing each table, or waits to."""
    return {
        table: f"run {run.run_id}, which refreshes {table}"
        for run in instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
        if is_of(target.location, run)
        for table in tables_of(target.catalog, run)
    }


def _tables(target: Target, request: Request) -> list[str]:
    """Return the names of the tables that are asked for.

    Raises:
        SettingsError: there is no such table, or none is enabled.
    """
    if request.tables:
        return [target.catalog.table(name).name for name in dict.fromkeys(request.tables)]
    registrations = _read_registrations(target.session)
    known = [name for name in registrations if name in target.catalog.tables]
    if enabled := [name for name in known if registrations[name].is_enabled]:
        return enabled
    raise SettingsError("every table is disabled; `sqp-refresh enable --all` to refresh them")


def _weeks(target: Target, request: Request, tables: Sequence[str]) -> list[Period]:
    """Return the weeks that are asked for; without any, see `_usual_weeks`.

    Raises:
        SettingsError: not all of them are finished weeks since REFRESH_START_DATE.
    """
    now = target.session.now()
    finished = finished_weeks(target.settings.REFRESH_START_DATE, now.date())
    if not finished:
        raise SettingsError(f"no week since {target.settings.REFRESH_START_DATE} has ended yet")
    if request.first_week is None and request.last_week is None:
        return _usual_weeks(target, tables, now, force=request.force)
    first = request.first_week or finished[0].start
    last = request.last_week or finished[-1].start
    if finished[0].start <= first <= last <= finished[-1].end:
        return list(weeks_between(first, last))
    raise SettingsError(
        f"weeks from {first} to {last} are not all between {finished[0]} and {finished[-1]}; "
        "ask for finished weeks, or set REFRESH_START_DATE"
    )


def _usual_weeks(
    target: Target, tables: Sequence[str], now: datetime, *, force: bool
) -> list[Period]:
    """Return the weeks of a night of some tables or, with force, every week since their first."""
    if not force:
        registrations = _read_registrations(target.session)
        known = [registrations[name] for name in tables if name in registrations]
        params = [registration.sync_params_if_readable for registration in known]
        return weeks_of_night(target.settings, params, now)
    with target.session.transaction():
        periods = [
            period
            for name in tables
            for period in published_periods(target.session, target.catalog.table(name))
        ]
    return weeks_of_periods(target.settings, periods, now.date())


def _read_registrations(session: Session) -> dict[str, Registration]:
    with session.transaction():
        return refresh_config.read_registrations(session)
