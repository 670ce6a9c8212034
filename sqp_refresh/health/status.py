"""The deployment guide's list of success, answered from the data and from Dagster."""

from collections.abc import Callable
from datetime import UTC, datetime

from sqp_refresh.catalog import read_catalog
from sqp_refresh.errors import RefreshError
from sqp_refresh.health import figures, lines, orchestrator
from sqp_refresh.health.answers import QUESTIONS, Line, Problem, Severity, Status
from sqp_refresh.health.finding import tried
from sqp_refresh.health.lines import GRACE, WINDOW, Seen
from sqp_refresh.migrate import newest, require_current
from sqp_refresh.postgres import connect
from sqp_refresh.settings import Settings


def status(settings: Settings) -> Status:
    """How things stand now; what cannot be told, with Postgres away, is said to be so."""
    names: list[str] = []
    looks = (
        lambda: require_current(settings.database_url),
        lambda: names.extend(orchestrator.code_location()),
    )
    problems = [problem for look in looks for problem in _raised(look)]
    if not problems:
        found = read_catalog(settings).problems
        problems = [Problem(Severity.BROKEN, problem) for problem in found]
    said = f"schema sqp is at {newest()}, the code location loads, its graph is the registry's"
    deployed = Line("deployed", said, problems)
    try:
        require_current(settings.database_url)
        seen = _seen(settings)
    except RefreshError as error:
        unknown = [Problem(Severity.UNANSWERED, str(error))]
        return Status([deployed, *(Line(name, "", unknown) for name in [*QUESTIONS][1:])])
    daemon = tried("daemon", lambda: orchestrator.daemon(names))
    asked = (lines.succeeding, lines.checked, lines.monitored, lines.hands_off)
    on_schedule = lines.on_schedule(seen, daemon)
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
            tables=figures.freshness(session),
            served=figures.ticks(session),
            judged=figures.judged(session),
            views=figures.view_sizes(session),
            ticks=orchestrator.ticks(settings, last - WINDOW, last),
        )
