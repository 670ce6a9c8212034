"""Answer the deployment guide's list of success from the database and the orchestrator."""

from dataclasses import replace

from sqp_refresh.alerts.mutes import list_mutes
from sqp_refresh.control import missing_indexes
from sqp_refresh.errors import RefreshError
from sqp_refresh.ledger.verdicts import read_failed_metrics
from sqp_refresh.monitoring import views
from sqp_refresh.monitoring.blocked import blocks, find_blockers, read_hard_parents
from sqp_refresh.monitoring.doctor.diagnosis import diagnose
from sqp_refresh.monitoring.doctor.postgres_checks import check_encoding, check_writable
from sqp_refresh.monitoring.lateness import GRACE
from sqp_refresh.monitoring.orchestrator import Orchestrator
from sqp_refresh.monitoring.status import success_criteria
from sqp_refresh.monitoring.status.stale_periods import read_staleness
from sqp_refresh.monitoring.status.status_model import (
    QUESTIONS,
    Criterion,
    Problem,
    Severity,
    Status,
)
from sqp_refresh.monitoring.status.success_criteria import WINDOW, Snapshot
from sqp_refresh.postgres.migrate import newest_revision, require_newest_revision
from sqp_refresh.postgres.schema_catalog import read_schema
from sqp_refresh.postgres.schema_differences import column_differences
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.schema_name import SCHEMA
from sqp_refresh.settings import Settings


def report_status(settings: Settings, orchestrator: Orchestrator) -> Status:
    """Answer every question of the list, as things are now.

    Where Postgres cannot be reached, the answers that need it are unknown; nothing is raised.

    Args:
        settings: Where Postgres is, and when the nights are.
        orchestrator: The program that runs the nights.
    """
    deployed, names = _check_deployment(settings, orchestrator)
    try:
        require_newest_revision(settings.database_url)
        problems = _find_differences(settings.database_url)
        snapshot = _take_snapshot(settings, orchestrator)
    except RefreshError as error:
        unknown = [Problem(Severity.UNANSWERED, str(error))]
        return Status([deployed, *(Criterion(name, "", unknown) for name in [*QUESTIONS][1:])])
    deployed = replace(deployed, problems=[*deployed.problems, *problems])
    daemon = diagnose("daemon", lambda: orchestrator.check_daemon(names))
    criteria = [
        deployed,
        success_criteria.check_schedule(snapshot, daemon),
        success_criteria.check_refreshes(snapshot),
        success_criteria.check_quality(snapshot),
        success_criteria.check_views(snapshot),
        success_criteria.check_hands_off(snapshot),
    ]
    next_nights = {
        table.table_name: orchestrator.next_tick(settings, max(snapshot.now, table.next_refresh_at))
        for table in snapshot.enabled
    }
    return Status(criteria, snapshot.tables, next_nights, snapshot.mutes)


def _check_deployment(
    settings: Settings, orchestrator: Orchestrator
) -> tuple[Criterion, list[str]]:
    """Check schema, code location and registry; also return the schedules' and sensors' names."""
    problems, names = [], []
    try:
        require_newest_revision(settings.database_url)
    except RefreshError as error:
        problems.append(str(error))
    try:
        names = orchestrator.load_code_location()
    except RefreshError as error:
        problems.append(str(error))
    # The registry can be read only where the schema is there.
    if not problems:
        differences = [*read_catalog(settings).problems, *orchestrator.registry_problems()]
        problems = list(dict.fromkeys(differences))
    schema = f"schema {SCHEMA} is at {newest_revision()}"
    message = f"{schema}, the code location loads, its graph is the registry's"
    broken = [Problem(Severity.BROKEN, problem) for problem in problems]
    return Criterion("deployed", "" if broken else message, broken), names


def _find_differences(database_url: str) -> list[Problem]:
    """Return a problem for each part of the database that is not as this release needs it."""
    with connect(database_url) as session, session.transaction():
        columns = [
            Problem(Severity.BROKEN if each.is_fatal else Severity.LOOK, str(each))
            for each in column_differences(read_schema(session))
        ]
        encoding = diagnose("encoding", lambda: check_encoding(session))
        others = [] if encoding.is_ok else [encoding.message]
        others += missing_indexes.warnings(session)
        return columns + [Problem(Severity.LOOK, what) for what in others]


def _take_snapshot(settings: Settings, orchestrator: Orchestrator) -> Snapshot:
    tables = read_catalog(settings).tables.values()
    with connect(settings.database_url) as session:
        now = session.now()
        last = now - GRACE
        freshness, metrics = views.read_freshness(session), views.read_last_metrics(session)
        failing = {metric.table_name for metric in metrics if blocks(metric)}
        return Snapshot(
            now=now,
            tables=freshness,
            blockers=find_blockers(freshness, read_hard_parents(session), failing),
            served_ticks=views.read_served_ticks(session),
            metrics=metrics,
            failed_metrics=read_failed_metrics(session),
            view_rows=views.count_rows(session),
            ticks=orchestrator.ticks_between(settings, last - WINDOW, last),
            writes=diagnose("writes", lambda: check_writable(session)),
            staleness=read_staleness(session, tables),
            mutes=list_mutes(session),
        )
