"""The deployment guide's list of success, answered from the data and from Dagster."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqp_refresh.errors import RefreshError
from sqp_refresh.monitoring import orchestrator, views
from sqp_refresh.monitoring.doctor.finding import diagnose
from sqp_refresh.monitoring.status import success_criteria
from sqp_refresh.monitoring.status.status_model import QUESTIONS, Line, Problem, Severity, Status
from sqp_refresh.monitoring.status.success_criteria import GRACE, WINDOW, Seen
from sqp_refresh.postgres.migrate import newest_revision, require_newest_revision
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.settings import Settings


def status(settings: Settings) -> Status:
    """How things stand now; what cannot be told, with Postgres away, is said to be so."""
    names: list[str] = []
    looks = (
        lambda: require_newest_revision(settings.database_url),
        lambda: names.extend(orchestrator.code_location()),
    )
    problems = [problem for look in looks for problem in _raised(look)]
    if not problems:
        found = read_catalog(settings).problems
        problems = [Problem(Severity.BROKEN, problem) for problem in found]
    revision = newest_revision()
    said = f"schema sqp is at {revision}, the code location loads, its graph is the registry's"
    deployed = Line("deployed", said, problems)
    try:
        require_newest_revision(settings.database_url)
        seen = _seen(settings)
    except RefreshError as error:
        unknown = [Problem(Severity.UNANSWERED, str(error))]
        return Status([deployed, *(Line(name, "", unknown) for name in [*QUESTIONS][1:])])
    daemon = diagnose("daemon", lambda: orchestrator.daemon(names))
    asked = (
        success_criteria.succeeding,
        success_criteria.checked,
        success_criteria.monitored,
        success_criteria.hands_off,
    )
    on_schedule = success_criteria.on_schedule(seen, daemon)
    return Status([deployed, on_schedule, *(line(seen) for line in asked)], seen.tables)


def _raised(look: Callable[[], object]) -> list[Problem]:
    try:
        look()
    except RefreshError as error:
        return [Problem(Severity.BROKEN, str(error))]
    return []


def _seen(settings: Settings) -> Seen:
    last = datetime.now(UTC) - GRACE
    with connect(settings.database_url) as session:
        return Seen(
            tables=views.freshness(session),
            served=views.ticks(session),
            judged=views.judged(session),
            views=views.view_sizes(session),
            ticks=orchestrator.ticks(settings, last - WINDOW, last),
        )
