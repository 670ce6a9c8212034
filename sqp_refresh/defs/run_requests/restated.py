"""Request runs for weeks that the source restated after the nights have stopped looking at them.

Each table that is filled from BigQuery is compared with its own ledger, in the weeks behind its own
look-back; the tables derived from it are requested with it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.ledger.ledger import restated
from sqp_refresh.model.periods import Grain, Period, stretches
from sqp_refresh.model.tables import SourceSpec, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.lookback import weeks_behind
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

Restated = Mapping[Period, str]
"""Weeks that were restated, each with a digest of what the source holds of it now."""


def request_restated_weeks(
    session: Session, settings: Settings, catalog: Catalog, now: datetime
) -> Iterator[dg.RunRequest]:
    """Request one run for each stretch of weeks that was restated for the same tables.

    Args:
        session: A session with the target.
        settings: Where BigQuery is, and the usual look-back.
        catalog: The tables that there are.
        now: The time by which weeks have ended, in UTC.

    Raises:
        RefreshError: Postgres or BigQuery cannot be read.
    """
    registrations = refresh_config.registered(session)
    enabled = {name for name, registration in registrations.items() if registration.is_enabled}
    behind: dict[SourceSpec, dict[str, list[Period]]] = defaultdict(dict)
    for name, table in catalog.tables.items():
        # A table without weeks is compared as a whole every night.
        if name in enabled and table.source and table.grain is not Grain.TABLE:
            params = registrations[name].params
            behind[table.source][name] = weeks_behind(settings, params, now.date())
    for weeks_by_table in behind.values():
        found = _restated_by_table(session, settings, catalog.tables, weeks_by_table)
        for names, stretch in _stretches_by_tables(found):
            selected = [name for name in catalog.with_derived(names) if name in enabled]
            yield _request(names, selected, stretch, found[names[0]])


def _restated_by_table(
    session: Session,
    settings: Settings,
    tables: Mapping[str, Table],
    weeks_by_table: Mapping[str, Sequence[Period]],
) -> dict[str, Restated]:
    """Find the restated weeks of each of a source's tables, by one query for all of them."""
    # The same weeks as of the same instant are asked for once, so all ask for the longest list.
    longest, as_of = max(weeks_by_table.values(), key=len), datetime.now(UTC)
    found = {}
    for name, weeks in weeks_by_table.items():
        digests = restated(session, source_for(settings, tables[name], longest, as_of), longest)
        found[name] = {week: digests[week] for week in weeks if week in digests}
    return found


def _stretches_by_tables(
    found: Mapping[str, Restated],
) -> Iterator[tuple[tuple[str, ...], list[Period]]]:
    """List the stretches of weeks that were restated for the same tables, with their names."""
    weeks: dict[tuple[str, ...], list[Period]] = defaultdict(list)
    for week in sorted({week for digests in found.values() for week in digests}):
        weeks[tuple(name for name, digests in found.items() if week in digests)].append(week)
    for names, of_these in weeks.items():
        for stretch in stretches(of_these):
            yield names, stretch


def _request(
    names: Sequence[str], selected: Sequence[str], stretch: Sequence[Period], digests: Restated
) -> dg.RunRequest:
    return dg.RunRequest(
        # The same restatement is requested once, another one of the same weeks again.
        run_key=" ".join([*names, *(f"{week}={digests[week]}" for week in stretch)]),
        asset_selection=asset_keys(selected),
        tags=range_tags(str(stretch[0]), str(stretch[-1])),
    )
