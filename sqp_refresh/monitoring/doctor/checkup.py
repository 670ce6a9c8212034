"""Look for what would make a refresh fail, before it does."""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import partial

from sqp_refresh.errors import NotFound, RefreshError
from sqp_refresh.monitoring.doctor import (
    bigquery_checks,
    foreign_code,
    postgres_checks,
    supabase,
)
from sqp_refresh.monitoring.doctor.diagnosis import Diagnosis, diagnose, failed
from sqp_refresh.monitoring.lateness import idle_ticks
from sqp_refresh.monitoring.orchestrator import Orchestrator
from sqp_refresh.monitoring.views import read_freshness
from sqp_refresh.postgres.migrate import newest_revision, require_newest_revision
from sqp_refresh.postgres.session import Session, connect
from sqp_refresh.registry.catalog import Catalog, read_catalog
from sqp_refresh.registry.refresh_config import read_registrations
from sqp_refresh.schema_name import SCHEMA
from sqp_refresh.settings import Settings

WINDOW = timedelta(days=7)
"""How far back ticks of the schedule are looked at."""


def run_checkup(orchestrator: Orchestrator) -> list[Diagnosis]:
    """Run every check, and leave out those that depend on something that is broken.

    Args:
        orchestrator: The program that runs the nights.
    """
    try:
        settings = Settings.read()
    except RefreshError as error:
        return [failed("settings", error)]
    diagnoses = [
        Diagnosis("settings", True, "every setting is well formed"),
        *_until_it_fails("postgres", check_postgres(settings)),
        *_check_bigquery(settings),
        *_until_it_fails("postgres", _check_registered_sources(settings)),
        *_check_orchestrator(settings, orchestrator),
    ]
    # What the registry and the code location both have to say is said once.
    return list(dict.fromkeys(diagnoses))


def _until_it_fails(subject: str, diagnoses: Iterator[Diagnosis]) -> Iterator[Diagnosis]:
    """Yield diagnoses, and an error between two of them as the last one."""
    try:
        yield from diagnoses
    except RefreshError as error:
        yield failed(subject, error)


def check_postgres(settings: Settings) -> Iterator[Diagnosis]:
    """Run the checks of Postgres one by one; no transaction stays open between two of them.

    Behind a small pool, one that stays open would keep a connection from the next check.
    """
    schema = diagnose("postgres", lambda: _check_revision(settings))
    if not schema.is_ok:
        yield schema
        return
    with connect(settings.database_url) as session:
        yield from _check_database(session, settings) or [schema]
        try:
            catalog = read_catalog(settings)
        except RefreshError as error:
            yield Diagnosis("registry", False, str(error))
            return
        yield from _check_registry(catalog)
        for subject, check in _checks(settings, catalog).items():
            yield diagnose(subject, partial(_check_alone, session, check))
        yield from _check_supabase(session, settings.database_url)


def _check_supabase(session: Session, database_url: str) -> Iterator[Diagnosis]:
    """Say what applies on Supabase, where the database is one of its projects."""
    is_supabase = supabase.is_supabase(session, database_url)
    session.rollback()
    if is_supabase:
        check = partial(supabase.check_supabase, database_url=database_url)
        yield diagnose("supabase", partial(_check_alone, session, check))


def _checks(settings: Settings, catalog: Catalog) -> dict[str, Callable[[Session], str]]:
    """Return the checks of a database whose tables are known, by subject."""
    tables, loaded = list(catalog.tables), catalog.tables.values()
    return {
        "privileges": lambda session: _check_rights(session, tables),
        "search path": foreign_code.check_search_path,
        "pooler": lambda _: postgres_checks.check_pooler(settings.database_url),
        "timeouts": postgres_checks.check_timeouts,
        "disk": postgres_checks.check_disk,
        "clock": postgres_checks.check_clock,
        "indexes": postgres_checks.check_indexes,
        "triggers": lambda session: postgres_checks.check_triggers(session, loaded),
        "tables": postgres_checks.check_first_refreshes,
    }


def _check_database(session: Session, settings: Settings) -> list[Diagnosis]:
    """Return what is wrong with a database of the right revision: its encoding, what is in it."""
    first_week = settings.REFRESH_START_DATE
    checks: list[Callable[[Session], str]] = [
        postgres_checks.check_encoding,
        lambda session: postgres_checks.check_columns(session, first_week),
        postgres_checks.check_definitions,
    ]
    diagnoses = [diagnose("postgres", partial(_check_alone, session, check)) for check in checks]
    return [diagnosis for diagnosis in diagnoses if not diagnosis.is_ok]


def _check_alone(session: Session, check: Callable[[Session], str]) -> str:
    """Run a check in transactions of its own; one that it left open ends with it."""
    try:
        return check(session)
    finally:
        session.rollback()


def _check_rights(session: Session, tables: Sequence[str]) -> str:
    """Check that the user may write at all, and then with which rights."""
    postgres_checks.check_writable(session)
    return postgres_checks.check_privileges(session, tables)


def _check_revision(settings: Settings) -> str:
    try:
        require_newest_revision(settings.database_url)
    except NotFound:
        # To migrate, as the message says, would be refused for the encoding.
        with connect(settings.database_url) as session:
            postgres_checks.check_encoding(session)
        raise
    return f"schema {SCHEMA} is at {newest_revision()}, as this release needs it"


def _check_registry(catalog: Catalog) -> Iterator[Diagnosis]:
    if not catalog.problems:
        registry = f"{SCHEMA}.refresh_dependencies"
        message = f"the graph of {len(catalog.tables)} tables is that of {registry}"
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


def _check_registered_sources(settings: Settings) -> Iterator[Diagnosis]:
    """Check the sources of the tables that operators registered, where they are refreshed."""
    catalog = read_catalog(settings)
    if not catalog.registered:
        return
    with connect(settings.database_url) as session:
        registrations = read_registrations(session)
    for name in filter(lambda name: registrations[name].is_enabled, catalog.registered):
        check = partial(bigquery_checks.check_registered_source, settings, catalog.table(name))
        yield diagnose("bigquery", check)


def _check_ticks(settings: Settings, orchestrator: Orchestrator) -> Iterator[Diagnosis]:
    """Say where the schedule ticks more often than any table is due."""
    if not diagnose("postgres", lambda: _check_revision(settings)).is_ok:
        return
    with connect(settings.database_url) as session:
        now, tables = session.now(), read_freshness(session)
    if idle := idle_ticks(tables, orchestrator.ticks_between(settings, now - WINDOW, now)):
        yield Diagnosis("schedule", True, idle)


def _check_orchestrator(settings: Settings, orchestrator: Orchestrator) -> Iterator[Diagnosis]:
    try:
        names = orchestrator.load_code_location()
    except RefreshError as error:
        yield failed("code location", error)
        return
    yield Diagnosis("code location", True, f"it loads, with {', '.join(names)}")
    for problem in orchestrator.registry_problems():
        yield Diagnosis("registry", False, problem)
    yield diagnose("daemon", lambda: orchestrator.check_daemon(names))
    yield from _until_it_fails("schedule", _check_ticks(settings, orchestrator))
