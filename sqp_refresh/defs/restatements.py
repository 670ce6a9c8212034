"""Runs for weeks older than the look-back that the source has changed since they were published."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import dagster as dg

from sqp_refresh.catalog import Catalog
from sqp_refresh.control import registry
from sqp_refresh.defs.nights import asset_keys
from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.extract import BigQueryFeed
from sqp_refresh.postgres import Session
from sqp_refresh.published import restated
from sqp_refresh.settings import Settings
from sqp_refresh.tables import Origin, SourceSpec
from sqp_refresh.weeks import DAYS_IN_WEEK, Grain, Period


def restatements(
    session: Session, settings: Settings, catalog: Catalog, weeks: Sequence[Period]
) -> Iterator[dg.RunRequest]:
    """One run for each stretch of restated weeks, of every enabled table that is made from them."""
    enabled = {name for name, one in registry.registered(session).items() if one.is_enabled}
    for table in catalog.tables.values():
        if table.origin is not Origin.SOURCE_ROWS or table.grain is Grain.TABLE:
            continue
        affected = [name for name in _made_from(catalog, table.source) if name in enabled]
        found = restated(session, BigQueryFeed(settings, table, weeks), weeks)
        for stretch in _stretches(found) if affected else ():
            yield dg.RunRequest(
                # The same restatement is asked for once, another one of the same weeks again.
                run_key=" ".join([table.name, *(f"{week}={found[week]}" for week in stretch)]),
                asset_selection=asset_keys(affected),
                tags=range_tags(str(stretch[0]), str(stretch[-1])),
            )


def _made_from(catalog: Catalog, spec: SourceSpec | None) -> list[str]:
    """The tables that are filled from a source, and those below them."""
    made: list[str] = []
    # Parents come before their dependents.
    for name, table in catalog.tables.items():
        if table.source == spec or (table.source is None and set(table.parents) & set(made)):
            made.append(name)
    return made


def _stretches(weeks: Iterable[Period]) -> Iterator[list[Period]]:
    """Weeks in a row, together."""
    ordered = sorted(weeks)
    stretch = ordered[:1]
    for before, week in pairwise(ordered):
        if (week.start - before.start).days > DAYS_IN_WEEK:
            yield stretch
            stretch = []
        stretch.append(week)
    if stretch:
        yield stretch
