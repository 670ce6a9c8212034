"""Read what each period of a derived table is made from: the state of each week below it.

The state of a week is the sum over the hashes of its rows' tuple ids, as `target_version` has it.
The ledger says in which state a parent left each week. What a period was really computed from is
read from the parent itself, in the snapshot of the computation: where somebody else has written to
the parent, the two differ, and the period is made again when the parent has been mended.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date

from psycopg import sql

from sqp_refresh.ledger.target_version import TUPLE_HASH, TargetVersion, sum_of_hashes
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, TABLES, Table
from sqp_refresh.model.versions import ParentVersions
from sqp_refresh.postgres.period_sql import (
    between_days,
    period_params,
    requested_params,
    target_name,
)
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

# The newest week is on record before its rows have arrived: until then, nothing is made from it.
_RECORDED = in_schema("""
SELECT requested.first, requested.last, (
    SELECT coalesce(jsonb_object_agg(period_start, target_state), '{}')
    FROM sqp.refresh_periods
    WHERE table_schema = %(schema)s AND table_name = %(parent)s AND row_count > 0
        AND period_start BETWEEN requested.first AND requested.last
)
FROM unnest(%(first_days)s::date[], %(last_days)s::date[]) AS requested (first, last)
""")
_SEEN = sql.SQL(
    in_schema("""
SELECT {name}, week.period_start, state.*
FROM sqp.refresh_periods AS week
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, {state} AS tuple_hash FROM {parent} WHERE {in_week}
) AS state
WHERE week.table_schema = %(schema)s AND week.table_name = {name} AND state.rows > 0
    AND week.period_start BETWEEN %(period_start)s AND %(period_end)s
    AND (%(sundays)s::date[] IS NULL OR week.period_start = ANY(%(sundays)s::date[]))
""")
)
_DAYS_OF_WEEK = sql.Identifier("week", "period_start"), sql.Identifier("week", "period_end")


def read_parent_versions(
    session: Session, table: Table, periods: Iterable[Period]
) -> dict[Period, ParentVersions]:
    """Read in which state each parent left each week of a derived table's periods.

    A parent's week that was loaded again without a change makes no difference, nor does one without
    rows.
    """
    params = {"schema": SCHEMA, **requested_params(periods)}
    weeks: dict[Period, dict[str, dict[date, int]]] = {}
    for parent in table.parents:
        for first, last, states in session.fetch_all(_RECORDED, params | {"parent": parent}):
            by_sunday = {date.fromisoformat(sunday): _hash(text) for sunday, text in states.items()}
            weeks.setdefault(Period(first, last), {})[parent] = by_sunday
    return {period: ParentVersions(by_parent) for period, by_parent in weeks.items()}


def see_parents(
    session: Session,
    table: Table,
    period: Period,
    recorded: ParentVersions,
    added: Sequence[date] = (),
) -> ParentVersions:
    """Read in which state the parents are, as the transaction sees them that computes a period.

    Args:
        session: A session in that transaction, which has one snapshot.
        table: The derived table.
        period: The period.
        recorded: In which state the parents left its weeks.
        added: The Sundays that the period is computed from; none is all. The others are as they
            were recorded.
    """
    seen: dict[str, dict[date, int]] = {
        name: dict(recorded.weeks.get(name, {})) if added else {} for name in table.parents
    }
    query = sql.SQL(" UNION ALL ").join(_seen(TABLES[name]) for name in table.parents)
    params = {"schema": SCHEMA, "sundays": list(added) or None, **period_params(period)}
    for name, sunday, _, tuple_hash in session.fetch_all(query, params):
        seen[name][sunday] = int(tuple_hash)
    return replace(recorded, weeks=seen)


def _seen(parent: Table) -> sql.Composed:
    return _SEEN.format(
        name=sql.Literal(parent.name),
        parent=target_name(parent),
        state=sum_of_hashes(TUPLE_HASH),
        in_week=between_days(parent, *_DAYS_OF_WEEK),
    )


def _hash(target_state: str) -> int:
    return TargetVersion.from_text(0, target_state).tuple_hash
