"""Request runs for weeks that the source restated after the nights have stopped looking at them.

Each table that is filled from BigQuery is compared with its own ledger, in the weeks behind its own
look-back; the tables derived from it are requested with it.
"""

import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

import dagster as dg

from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.errors import Permanent
from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.ledger.decide import restated
from sqp_refresh.model.periods import Grain, Period, stretches
from sqp_refresh.model.tables import SourceSpec, Table
from sqp_refresh.model.text import listing
from sqp_refresh.postgres.session import Session
from sqp_refresh.refresh.lookback import weeks_behind
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings

logger = logging.getLogger(__name__)

Restated = Mapping[Period, str]
"""Weeks that were restated, each with a hash of what the source holds of it now."""


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
    registrations = refresh_config.read_registrations(session)
    enabled = {name for name, registration in registrations.items() if registration.is_enabled}
    behind: dict[SourceSpec, dict[str, list[Period]]] = defaultdict(dict)
    for name, table in catalog.tables.items():
        # A table without weeks is compared as a whole every night.
        if name in enabled and table.source and table.grain is not Grain.TABLE:
            params = registrations[name].sync_params_if_readable
            behind[table.source][name] = weeks_behind(settings, params, now.date())
    for spec, weeks_by_table in behind.items():
        try:
            by_table = _restated_by_table(session, settings, catalog.tables, weeks_by_table)
        except Permanent as error:
            if spec.is_vendor_report:
                raise
            # A registered table whose source is gone keeps none of the others from being compared.
            logger.warning("%s was not compared: %s", listing(weeks_by_table), error)
            continue
        for names, stretch in _stretches_by_tables(by_table):
            selected = [name for name in catalog.with_derived(names) if name in enabled]
            yield _request(names, selected, stretch, by_table[names[0]])


def _restated_by_table(
    session: Session,
    settings: Settings,
    tables: Mapping[str, Table],
    weeks_by_table: Mapping[str, Sequence[Period]],
) -> dict[str, Restated]:
    """Find the restated weeks of each of a source's tables, by one query for all of them."""
    # Tables share the query for the same weeks as of the same instant, so that each of them reads
    # the versions of the longest list, and compares those of its own.
    longest = max(weeks_by_table.values(), key=len)
    as_of, queries = datetime.now(UTC), RunQueries()
    restated_weeks = {}
    for name, weeks in weeks_by_table.items():
        source = source_for(settings, tables[name], longest, as_of, queries=queries)
        versions = source.versions(session, longest)
        own_versions = {week: versions[week] for week in weeks}
        restated_weeks[name] = restated(session, tables[name], own_versions)
    return restated_weeks


def _stretches_by_tables(
    by_table: Mapping[str, Restated],
) -> Iterator[tuple[tuple[str, ...], list[Period]]]:
    """List the stretches of weeks that were restated for the same tables, with their names."""
    weeks_by_tables: dict[tuple[str, ...], list[Period]] = defaultdict(list)
    for week in sorted({week for hashes in by_table.values() for week in hashes}):
        names = tuple(name for name, hashes in by_table.items() if week in hashes)
        weeks_by_tables[names].append(week)
    for names, weeks in weeks_by_tables.items():
        for stretch in stretches(weeks):
            yield names, stretch


def _request(
    names: Sequence[str], selected: Sequence[str], stretch: Sequence[Period], hashes: Restated
) -> dg.RunRequest:
    return dg.RunRequest(
        # The same restatement is requested once, another one of the same weeks again.
        run_key=" ".join([*names, *(f"{week}={hashes[week]}" for week in stretch)]),
        asset_selection=asset_keys(selected),
        tags=range_tags(str(stretch[0]), str(stretch[-1])),
    )
