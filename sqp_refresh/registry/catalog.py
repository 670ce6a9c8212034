"""Every table there is to refresh: the eight of `tables.py`, and what operators add in SQL.

The registry may change a priority, add a dependency or make one soft, and register a table of its
own. Where it says something that cannot be followed, that is reported, never ignored.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from graphlib import CycleError, TopologicalSorter

from sqp_refresh.errors import RefreshError, SettingsError
from sqp_refresh.model.tables import SCHEMA, TABLES, Dependency, SourceSpec, Table
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.refresh_config import Registration
from sqp_refresh.registry.registration import Description, described, table_from
from sqp_refresh.registry.sync_params import SyncParams
from sqp_refresh.settings import Settings

logger = logging.getLogger(__name__)

# A code location that loads must not wait long for a database that is away.
PATIENCE_S = 3

Edges = Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """The tables, parents before their dependents, and where the registry says something else.

    Attributes:
        tables: By name.
        problems: One line each; empty where graph and registry say the same.
    """

    tables: dict[str, Table]
    problems: list[str] = field(default_factory=list)

    def table(self, name: str) -> Table:
        """A table by its name.

        Raises:
            SettingsError: there is none of that name.
        """
        if name not in self.tables:
            raise SettingsError(f"there is no table {name!r}; choose from {', '.join(self.tables)}")
        return self.tables[name]

    def made_from(self, spec: SourceSpec | None) -> list[str]:
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
    """What this release ships and the registry adds; only what it ships where that is away."""
    if settings.DATABASE_URL is None:
        return Catalog(dict(TABLES))
    try:
        with connect(settings.database_url, connect_timeout_s=PATIENCE_S) as session:
            registrations = refresh_config.registered(session)
            edges = refresh_config.dependencies(session)
            names = [name for name, one in registrations.items() if one.raw_params]
            descriptions = described(session, [name for name in names if name not in TABLES])
    except RefreshError as error:
        logger.warning("the registry was not read, only the tables shipped are known: %s", error)
        return Catalog(dict(TABLES), [f"the registry was not read: {error}"])
    catalog = combined(registrations, edges, descriptions)
    for problem in catalog.problems:
        logger.warning("%s", problem)
    return catalog


def combined(
    registrations: Mapping[str, Registration],
    edges: Edges,
    descriptions: Mapping[str, Description],
) -> Catalog:
    """What this release ships, with the registry's rows laid over it.

    Args:
        registrations: The rows of refresh_config, by table.
        edges: The rows of refresh_dependencies: (parent, dependent) and how strictly.
        descriptions: What Postgres says of the tables that operators registered.
    """
    problems: list[str] = []
    tables = dict(TABLES)
    for name, registration in registrations.items():
        if name in TABLES:
            tables[name] = _as_registered(TABLES[name], registration)
        elif table := _registered(registration, descriptions, problems):
            tables[name] = _as_registered(table, registration)
    problems += [
        f"{SCHEMA}.{name} is not in sqp.refresh_config; run `sqp-refresh migrate`"
        for name in TABLES
        if name not in registrations
    ]
    return _connected(tables, edges, problems)


def _as_registered(table: Table, registration: Registration) -> Table:
    return replace(
        table, priority=registration.priority, frequency_hours=registration.frequency_hours
    )


def _registered(
    registration: Registration, descriptions: Mapping[str, Description], problems: list[str]
) -> Table | None:
    # A table that registered itself says nothing yet of where its rows come from.
    if "source_table" not in registration.raw_params:
        if registration.is_enabled:
            problems.append(
                f"{SCHEMA}.{registration.table} is enabled, but nothing says where its rows come "
                f"from; run `sqp-refresh register {registration.table}`, or disable it"
            )
        return None
    try:
        params: SyncParams = registration.params
        description = descriptions.get(registration.table)
        return table_from(registration.table, params, description, registration.priority)
    except SettingsError as error:
        problems.append(str(error))
        return None


def _connected(tables: dict[str, Table], edges: Edges, problems: list[str]) -> Catalog:
    parents = {name: dict(table.parents) for name, table in tables.items()}
    shipped = {(parent, name) for name, table in tables.items() for parent in table.parents}
    problems += [
        f"sqp.refresh_dependencies lacks {parent} -> {dependent}, which the graph has"
        for parent, dependent in sorted(shipped - edges.keys())
    ]
    for (parent, dependent), how in edges.items():
        if parent not in tables or dependent not in tables:
            problems.append(
                f"sqp.refresh_dependencies has {parent} -> {dependent}, of which the graph does "
                "not know both"
            )
        elif _closes_a_circle(parents, parent, dependent):
            problems.append(
                f"sqp.refresh_dependencies has {parent} -> {dependent}, which closes a circle; "
                "the graph goes without it"
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
