"""Runs for weeks older than the look-back that the source has changed since they were published."""

from collections.abc import Iterator, Sequence

import dagster as dg

from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.ledger.decide import restated
from sqp_refresh.model.periods import Grain, Period, stretches
from sqp_refresh.model.tables import Origin
from sqp_refresh.postgres.session import Session
from sqp_refresh.registry import refresh_config
from sqp_refresh.registry.catalog import Catalog
from sqp_refresh.settings import Settings


def restatements(
    session: Session, settings: Settings, catalog: Catalog, weeks: Sequence[Period]
) -> Iterator[dg.RunRequest]:
    """One run for each stretch of restated weeks, of every enabled table that is made from them."""
    enabled = {
        name for name, one in refresh_config.read_registrations(session).items() if one.is_enabled
    }
    for table in catalog.tables.values():
        if table.origin is not Origin.SOURCE_ROWS or table.grain is Grain.TABLE:
            continue
        affected = [name for name in catalog.filled_from(table.source) if name in enabled]
        versions = BigQuerySource(settings, table, weeks).versions(session, weeks)
        found = restated(session, table, versions)
        for stretch in stretches(found) if affected else ():
            yield dg.RunRequest(
                # The same restatement is asked for once, another one of the same weeks again.
                run_key=" ".join([table.name, *(f"{week}={found[week]}" for week in stretch)]),
                asset_selection=asset_keys(affected),
                tags=range_tags(str(stretch[0]), str(stretch[-1])),
            )
