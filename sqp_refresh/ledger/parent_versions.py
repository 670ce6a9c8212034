"""Read what each period of a derived table is made from: the last change to each week below it."""

from collections.abc import Iterable
from datetime import date

from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.model.versions import ParentVersions
from sqp_refresh.postgres.period_sql import requested_params
from sqp_refresh.postgres.session import Session

# The newest week is on record before its rows have arrived: until then, nothing is made from it.
_CHANGES = """
SELECT requested.first, requested.last, (
    SELECT coalesce(jsonb_object_agg(period_start, changed_by), '{}')
    FROM sqp.refresh_periods
    WHERE table_schema = %(schema)s AND table_name = %(parent)s AND row_count > 0
        AND period_start BETWEEN requested.first AND requested.last
)
FROM unnest(%(first_days)s::date[], %(last_days)s::date[]) AS requested (first, last)
"""


def read_parent_versions(
    session: Session, table: Table, periods: Iterable[Period]
) -> dict[Period, ParentVersions]:
    """Read which run last changed each week of a derived table's periods, in each parent.

    A parent's week that was loaded again without a change makes no difference, nor does one without
    rows.
    """
    params = {"schema": SCHEMA, **requested_params(periods)}
    weeks: dict[Period, dict[str, dict[date, int]]] = {}
    for parent in table.parents:
        for first, last, changes in session.fetch_all(_CHANGES, params | {"parent": parent}):
            by_sunday = {date.fromisoformat(sunday): run for sunday, run in changes.items()}
            weeks.setdefault(Period(first, last), {})[parent] = by_sunday
    return {period: ParentVersions(by_parent) for period, by_parent in weeks.items()}
