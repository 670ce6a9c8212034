"""Request runs for weeks that were restated after the nights have stopped looking at them.

Each table is compared with its own ledger, in the weeks behind its own look-back: one that is
filled from BigQuery with BigQuery, one that is derived with the tables above it. So a table that
failed, or was disabled, while others took a restatement is requested for itself later.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import dagster as dg

from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.errors import RefreshError
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.ledger.ledger import hash_json
from sqp_refresh.ledger.parent_versions import read_parent_versions
from sqp_refresh.ledger.staleness import find_restatements
from sqp_refresh.model.periods import Grain, Period, periods_touched, stretches
from sqp_refresh.model.tables import Table
from sqp_refresh.model.versions import Version
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.lookback import weeks_behind
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.registry.refresh_config import Registration
from sqp_refresh.settings import Settings

Restated = Mapping[Period, str]
"""Weeks that were restated, each with a hash of what the source holds now."""


def request_restated_weeks(
    session: Session, settings: Settings, catalog: Catalog, now: datetime
) -> tuple[list[dg.RunRequest], list[str]]:
    """Request one run for each stretch of weeks that was restated for the same tables.

    A table that cannot be compared is left out, and the others are compared.

    Args:
        session: A session with the target, in no transaction.
        settings: Where BigQuery is, and the usual look-back.
        catalog: The tables that there are.
        now: The time by which weeks have ended, in UTC.

    Returns:
        The requests, and why tables could not be compared.

    Raises:
        RefreshError: the registry cannot be read.
    """
    with session.transaction():
        registrations = refresh_config.read_registrations(session)
    enabled = {name for name, registration in registrations.items() if registration.is_enabled}
    comparison = _Comparison(session, settings, now)
    for name, table in catalog.tables.items():
        # A table without weeks is compared as a whole every night.
        if name in enabled and table.grain is not Grain.TABLE:
            comparison.add(table, registrations[name])
    by_table = comparison.find_restated()
    requests = []
    for names, stretch in _stretches_by_tables(by_table):
        selected = [name for name in catalog.with_derived(names) if name in enabled]
        states = [(name, by_table[name][week]) for name in names for week in stretch]
        requests.append(_request(selected, stretch, hash_json(states), now))
    return requests, comparison.problems


class _Comparison:
    """The comparison of tables with their sources, as of one instant.

    Attributes:
        problems: Why tables could not be compared.
    """

    def __init__(self, session: Session, settings: Settings, now: datetime) -> None:
        self.problems: list[str] = []
        self._session = session
        self._settings = settings
        self._today = now.date()
        self._queries = RunQueries()
        self._weeks: dict[str, list[Period]] = {}
        self._tables: list[Table] = []

    def add(self, table: Table, registration: Registration) -> None:
        """Have a table compared, in the weeks behind its own look-back."""
        try:
            params = registration.sync_params
        except RefreshError as error:
            self._leave_out(table, error)
            return
        self._weeks[table.name] = weeks_behind(self._settings, params, self._today)
        self._tables.append(table)

    def find_restated(self) -> dict[str, Restated]:
        """Find the restated weeks of each table; one that cannot be compared is a problem."""
        by_table = {}
        for table in self._tables:
            try:
                by_table[table.name] = self._find_restated(table)
            except RefreshError as error:
                self._leave_out(table, error)
        return by_table

    def _find_restated(self, table: Table) -> Restated:
        weeks = self._weeks[table.name]
        # BigQuery answers while no transaction is open.
        versions = self._read_source(table) if table.source else None
        with self._session.transaction():
            if versions is None:
                periods = periods_touched(weeks, table.grain)
                versions = read_parent_versions(self._session, table, periods)
            restatements = find_restatements(self._session, table, versions)
            refresh_config.mark_compared(self._session, table)
        behind = set(weeks)
        # A month may have other weeks, too, which the nights look at.
        return {
            week: restatement.state
            for restatement in restatements.values()
            for week in map(Period.week_of, restatement.weeks)
            if week in behind
        }

    def _read_source(self, table: Table) -> Mapping[Period, Version]:
        # Tables share the query for the same weeks as of the same instant, so that each of them
        # reads the versions of the longest list, and compares those of its own.
        longest = max(self._weeks.values(), key=len)
        source = source_for(self._settings, table, longest, queries=self._queries)
        versions = source.versions(self._session, longest)
        return {week: versions[week] for week in self._weeks[table.name]}

    def _leave_out(self, table: Table, error: RefreshError) -> None:
        self.problems.append(f"{table.name} was not compared: {error}")


def _stretches_by_tables(
    by_table: Mapping[str, Restated],
) -> Iterator[tuple[tuple[str, ...], list[Period]]]:
    """List the stretches of weeks that were restated for the same tables, with their names."""
    weeks_by_tables: dict[tuple[str, ...], list[Period]] = defaultdict(list)
    for week in sorted({week for states in by_table.values() for week in states}):
        names = tuple(name for name, states in by_table.items() if week in states)
        weeks_by_tables[names].append(week)
    for names, weeks in weeks_by_tables.items():
        for stretch in stretches(weeks):
            yield names, stretch


def _request(
    selected: Sequence[str], stretch: Sequence[Period], state: str, now: datetime
) -> dg.RunRequest:
    first, last = str(stretch[0]), str(stretch[-1])
    return dg.RunRequest(
        # Dagster launches a key once, whatever becomes of the run. So the same state is requested
        # once a day, as long as it is not published, and another one at once.
        run_key=f"{first} {last} {state} {now.date()}",
        asset_selection=asset_keys(selected),
        tags=range_tags(first, last),
    )
