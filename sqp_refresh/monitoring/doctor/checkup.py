"""Look for what would make a refresh fail, before it does."""

from collections.abc import Iterator, Sequence

from sqp_refresh.errors import RefreshError
from sqp_refresh.monitoring.doctor import bigquery_checks, foreign_code, postgres_checks
from sqp_refresh.monitoring.doctor.diagnosis import Diagnosis, diagnose
from sqp_refresh.monitoring.orchestrator import Orchestrator
from sqp_refresh.postgres.migrate import newest_revision, require_newest_revision
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry.catalog import Catalog, read_catalog
from sqp_refresh.settings import Settings


def run_checkup(orchestrator: Orchestrator) -> list[Diagnosis]:
    """Run every check, and leave out those that depend on something that is broken.

    Args:
        orchestrator: The program that runs the nights.
    """
    try:
        settings = Settings.read()
    except RefreshError as error:
        return [Diagnosis("settings", False, str(error))]
    diagnoses = [
        Diagnosis("settings", True, "every setting is well formed"),
        *_check_postgres(settings),
        *_check_bigquery(settings),
        *_check_orchestrator(orchestrator),
    ]
    # What the registry and the code location both have to say is said once.
    return list(dict.fromkeys(diagnoses))


def _check_postgres(settings: Settings) -> Iterator[Diagnosis]:
    schema = diagnose("postgres", lambda: _check_schema(settings))
    yield schema
    if not schema.is_ok:
        return
    catalog, url = read_catalog(settings), settings.database_url
    yield from _check_registry(catalog)
    with connect(url) as session:
        tables = list(catalog.tables)
        yield diagnose("privileges", lambda: _check_rights(session, tables))
        yield diagnose("search path", lambda: foreign_code.check_search_path(session))
        yield diagnose("pooler", lambda: postgres_checks.check_pooler(url))
        yield diagnose("timeouts", lambda: postgres_checks.check_timeouts(session))
        yield diagnose("disk", lambda: postgres_checks.check_disk(session))
        yield diagnose("clock", lambda: postgres_checks.check_clock(session))
        yield diagnose("indexes", lambda: postgres_checks.check_indexes(session))
        loaded = catalog.tables.values()
        yield diagnose("triggers", lambda: postgres_checks.check_triggers(session, loaded))
        yield diagnose("tables", lambda: postgres_checks.check_first_refreshes(session))


def _check_rights(session: Session, tables: Sequence[str]) -> str:
    """Check that the user may write at all, and then with which rights."""
    postgres_checks.check_writable(session)
    return postgres_checks.check_privileges(session, tables)


def _check_schema(settings: Settings) -> str:
    require_newest_revision(settings.database_url)
    return f"schema sqp is at {newest_revision()}, as this release needs it"


def _check_registry(catalog: Catalog) -> Iterator[Diagnosis]:
    if not catalog.problems:
        message = f"the graph of {len(catalog.tables)} tables is that of sqp.refresh_dependencies"
        yield Diagnosis("registry", True, message)
    for problem in catalog.problems:
        yield Diagnosis("registry", False, problem)


def _check_bigquery(settings: Settings) -> Iterator[Diagnosis]:
    columns = diagnose("bigquery", lambda: bigquery_checks.check_columns(settings))
    yield columns
    if columns.is_ok:
        yield diagnose("bigquery query", lambda: bigquery_checks.check_query(settings))
        yield diagnose("bigquery read", lambda: bigquery_checks.check_storage_read(settings))
        clock = diagnose("bigquery clock", lambda: bigquery_checks.check_clock(settings))
        # Where the clocks agree, the line of Postgres's clock says it all.
        if not clock.is_ok:
            yield clock


def _check_orchestrator(orchestrator: Orchestrator) -> Iterator[Diagnosis]:
    try:
        names = orchestrator.load_code_location()
    except RefreshError as error:
        yield Diagnosis("code location", False, str(error))
        return
    yield Diagnosis("code location", True, f"it loads, with {', '.join(names)}")
    for problem in orchestrator.registry_problems():
        yield Diagnosis("registry", False, problem)
    yield diagnose("daemon", lambda: orchestrator.check_daemon(names))
