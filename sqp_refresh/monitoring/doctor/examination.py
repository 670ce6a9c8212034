"""What would make a refresh fail, looked for before it does."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from sqp_refresh.errors import NotFound, RefreshError
from sqp_refresh.monitoring import orchestrator
from sqp_refresh.monitoring.doctor import database
from sqp_refresh.monitoring.doctor.bigquery import may_query, may_read, source_of
from sqp_refresh.monitoring.doctor.finding import Diagnosis, diagnose
from sqp_refresh.monitoring.views import freshness
from sqp_refresh.postgres.migrate import newest_revision, require_newest_revision
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry.catalog import Catalog, read_catalog
from sqp_refresh.settings import Settings


def examined() -> list[Diagnosis]:
    """Everything that was looked at; what depends on something broken is left out."""
    return list(_examined())


def _examined() -> Iterator[Diagnosis]:
    settings = None
    try:
        settings = Settings.read()
        yield Diagnosis("settings", True, "every switch is well formed")
    except RefreshError as error:
        yield Diagnosis("settings", False, str(error))
    if settings is None:
        return
    schema = diagnose("postgres", lambda: _schema(settings))
    yield schema
    if schema.ok:
        yield from _of_postgres(settings, read_catalog(settings))
    yield from _of_bigquery(settings)
    yield from _of_dagster()


def _schema(settings: Settings) -> str:
    require_newest_revision(settings.database_url)
    return f"schema sqp is at {newest_revision()}, as this release needs it"


def _of_postgres(settings: Settings, catalog: Catalog) -> Iterator[Diagnosis]:
    yield from _registry(catalog)
    url = settings.database_url
    with connect(url) as session:
        yield diagnose("privileges", lambda: database.privileges(session, list(catalog.tables)))
        yield diagnose("pooler", lambda: database.pooler(url))
        yield diagnose("timeouts", lambda: database.timeouts(session))
        yield diagnose("disk", lambda: database.disk(session))
        yield diagnose("clock", lambda: database.clock(session))
        yield diagnose("indexes", lambda: database.indexes(session))
        yield diagnose("tables", lambda: first_refreshes(session))


def _registry(catalog: Catalog) -> Iterator[Diagnosis]:
    if not catalog.problems:
        said = f"the graph of {len(catalog.tables)} tables is that of sqp.refresh_dependencies"
        yield Diagnosis("registry", True, said)
    for problem in catalog.problems:
        yield Diagnosis("registry", False, problem)


def first_refreshes(session: Session) -> str:
    """That no enabled table waits for its first refresh for longer than between two of them.

    Raises:
        NotFound: some do; the line names them.
    """
    tables, now = freshness(session), datetime.now(UTC)
    waiting = [one for one in tables if one.is_enabled and one.last_refresh_at is None]
    never = [
        one.table
        for one in waiting
        if now > one.next_refresh_at + timedelta(hours=one.frequency_hours)
    ]
    if never:
        raise NotFound(
            f"{', '.join(never)} registered and enabled, but never refreshed; run "
            "`sqp-refresh refresh`, or look at `sqp-refresh history TABLE`"
        )
    disabled = sum(not one.is_enabled for one in tables)
    return f"{len(waiting)} of {len(tables)} wait for their first refresh, {disabled} are disabled"


def _of_bigquery(settings: Settings) -> Iterator[Diagnosis]:
    source = diagnose("bigquery", lambda: _source(settings))
    yield source
    if source.ok:
        yield diagnose(
            "bigquery query", lambda: f"a query may run, which would read {_cost(settings)}"
        )
        yield diagnose("bigquery read", lambda: may_read(settings, settings.source_table))


def _source(settings: Settings) -> str:
    source = source_of(settings)
    kind = "table" if source.is_table else "view"
    return f"{source.name} has every column that is needed, as a {kind}"


def _cost(settings: Settings) -> str:
    return f"{may_query(settings, settings.source_table):,} bytes"


def _of_dagster() -> Iterator[Diagnosis]:
    try:
        names = orchestrator.code_location()
    except RefreshError as error:
        yield Diagnosis("code location", False, str(error))
        return
    yield Diagnosis("code location", True, f"it loads, with {', '.join(names)}")
    yield diagnose("daemon", lambda: orchestrator.daemon(names))
