"""Put together every table there is to refresh: the eight of `tables.py`, and those added in SQL.

The registry may change a priority, add a dependency or make one soft, and register a table of its
own. Where it holds something that cannot be followed, that is reported, never ignored.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

from sqp_refresh.errors import RefreshError, SettingsError, one_line
from sqp_refresh.model.tables import SCHEMA, TABLES, Dependency, SourceSpec, Table
from sqp_refresh.model.text import printable
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.refresh_config import Registration
from sqp_refresh.registry.registration import build_table, require_name
from sqp_refresh.registry.table_description import TableDescription, describe_tables
from sqp_refresh.settings import Settings

logger = logging.getLogger(__name__)

# A code location that loads must not wait long for a database that is away.
CONNECT_TIMEOUT_S = 3

Edges = Mapping[tuple[str, str], str]
"""How strict each dependency is, by (parent, dependent)."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables, parents before their dependents, and where the registry differs from the code.

    Attributes:
        tables: The tables by name.
        problems: One line each; empty where the code and the registry agree.
        unusable: The problem of each registered table that cannot be an asset, by its name.
    """

    tables: dict[str, Table]
    problems: list[str] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)

    def table(self, name: str) -> Table:
        """Return a table by its name.

        Raises:
            SettingsError: there is none of that name.
        """
        if name not in self.tables:
            raise SettingsError(f"there is no table {name!r}; choose from {', '.join(self.tables)}")
        return self.tables[name]

    def without(self, name: str, problem: str) -> "Catalog":
        """Return the same without one table, and with the problem that keeps it out."""
        tables = {
            other: replace(
                table, parents={up: how for up, how in table.parents.items() if up != name}
            )
            for other, table in self.tables.items()
            if other != name
        }
        return Catalog(tables, [*self.problems, problem], self.unusable | {name: problem})

    @property
    def registered(self) -> list[str]:
        """The names of the tables that operators registered, parents first."""
        return [name for name in self.tables if name not in TABLES]

    def filled_from(self, spec: SourceSpec | None) -> list[str]:
        """List the tables that are filled from a source, and those derived from them."""
        filled = [name for name, table in self.tables.items() if table.source == spec]
        return self.with_derived(filled)

    def with_derived(self, names: Collection[str]) -> list[str]:
        """List some tables and those that Postgres derives from them, parents first."""
        made: list[str] = []
        # Parents come before their dependents.
        for name, table in self.tables.items():
            if name in names or (table.source is None and set(table.parents) & set(made)):
                made.append(name)
        return made


def read_catalog(settings: Settings) -> Catalog:
    """Read the registry and add it to the shipped tables; without a database, return only those."""
    if settings.DATABASE_URL is None:
        return Catalog(dict(TABLES))
    try:
        with connect(settings.database_url, connect_timeout_s=CONNECT_TIMEOUT_S) as session:
            registrations = refresh_config.read_registrations(session)
            edges = refresh_config.read_dependencies(session)
            added = [
                name
                for name, registration in registrations.items()
                if registration.custom_sync_params and name not in TABLES
            ]
            descriptions = describe_tables(session, added)
    except RefreshError as error:
        logger.warning("the registry was not read, only the tables shipped are known: %s", error)
        return Catalog(dict(TABLES), [f"the registry was not read: {error}"])
    catalog = merge_with_registry(registrations, edges, descriptions)
    for problem in catalog.problems:
        logger.warning("%s", problem)
    return catalog


def merge_with_registry(
    registrations: Mapping[str, Registration],
    edges: Edges,
    descriptions: Mapping[str, TableDescription],
) -> Catalog:
    """Lay the registry's rows over the shipped tables.

    Args:
        registrations: The rows of refresh_config, by table.
        edges: The rows of refresh_dependencies.
        descriptions: How Postgres describes the tables that operators registered, by name.
    """
    unusable: dict[str, str] = {}
    tables = dict(TABLES)
    for name, registration in registrations.items():
        if name in TABLES:
            tables[name] = _with_schedule(TABLES[name], registration)
        elif table := _build_registered(registration, descriptions, unusable):
            tables[name] = _with_schedule(table, registration)
    problems = list(unusable.values())
    problems += [
        f"{SCHEMA}.{name} is not in {SCHEMA}.refresh_config; run `sqp-refresh migrate`"
        for name in TABLES
        if name not in registrations
    ]
    catalog = _connect_tables(tables, edges, problems)
    return replace(
        catalog,
        # They quote names as somebody has entered them.
        problems=[*map(printable, catalog.problems)],
        unusable={name: printable(problem) for name, problem in unusable.items()},
    )


def _with_schedule(table: Table, registration: Registration) -> Table:
    return replace(
        table, priority=registration.priority, frequency_hours=registration.frequency_hours
    )


def _build_registered(
    registration: Registration,
    descriptions: Mapping[str, TableDescription],
    unusable: dict[str, str],
) -> Table | None:
    """Build a registered table; None where that is not possible, with a problem that says why."""
    name, entered = registration.table, registration.custom_sync_params
    # A table that registered itself says nothing yet of where its rows come from.
    is_unsaid = isinstance(entered, dict) and "source_table" not in entered
    if is_unsaid and not registration.is_enabled:
        return None
    try:
        require_name(name)
        if is_unsaid:
            raise SettingsError(
                f"{SCHEMA}.{name} is enabled, but nothing says where its rows come from; run "
                f"`sqp-refresh register {name}`, or disable it"
            )
        params = registration.sync_params
        return build_table(name, params, descriptions.get(name), registration.priority)
    except Exception as error:
        # Whatever one row holds, it must not end the refreshes of all other tables.
        unusable[name] = problem_of(name, error)
        return None


def problem_of(table: str, error: BaseException) -> str:
    """Return what keeps a registered table from being an asset.

    Args:
        table: Name of the table.
        error: What went wrong as it was made into one.
    """
    if isinstance(error, SettingsError):
        return str(error)
    return (
        f"{SCHEMA}.{table} is left out, because it cannot be defined ({type(error).__name__}: "
        f"{one_line(error)}); correct its row in {SCHEMA}.refresh_config, or disable it"
    )


def _connect_tables(tables: dict[str, Table], edges: Edges, problems: list[str]) -> Catalog:
    """Give the tables their parents, and put parents before their dependents.

    An edge that cannot be followed is left out and becomes a problem.
    """
    parents = {name: dict(table.parents) for name, table in tables.items()}
    shipped = {(parent, name) for name, table in tables.items() for parent in table.parents}
    problems += [
        f"{SCHEMA}.refresh_dependencies lacks {parent} -> {dependent}, which the graph has"
        for parent, dependent in sorted(shipped - edges.keys())
    ]
    for (parent, dependent), how in edges.items():
        if parent not in tables or dependent not in tables:
            problems.append(
                f"{SCHEMA}.refresh_dependencies has {parent} -> {dependent}, of which the graph "
                "does not know both"
            )
        elif how not in list(Dependency):
            problems.append(
                f"{SCHEMA}.refresh_dependencies has {parent} -> {dependent} as {how!r}, which is "
                "neither hard nor soft; the graph goes without it"
            )
        elif _closes_a_circle(parents, parent, dependent):
            problems.append(
                f"{SCHEMA}.refresh_dependencies has {parent} -> {dependent}, which closes a "
                "circle; the graph goes without it"
            )
        else:
            parents[dependent][parent] = Dependency(how)
    order = TopologicalSorter(parents).static_order()
    return Catalog({name: replace(tables[name], parents=parents[name]) for name in order}, problems)


def _closes_a_circle(
    parents: Mapping[str, Mapping[str, Dependency]], parent: str, dependent: str
) -> bool:
    graph = {name: set(above) for name, above in parents.items()}
    graph[dependent].add(parent)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return True
    return False
