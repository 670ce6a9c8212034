"""Compose the conditions by which SQL finds the rows of a period, or of several.

The days themselves are parameters, which the functions here make.
"""

from collections.abc import Iterable
from datetime import date

from psycopg import sql

from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import identifier

PERIOD_START, PERIOD_END = sql.Placeholder("period_start"), sql.Placeholder("period_end")

REQUESTED = sql.SQL(
    "unnest(%(first_days)s::date[], %(last_days)s::date[]) AS __sqp_requested (first, last)"
)
"""Periods as rows with a first and a last day, for FROM; the parameters of `requested_params`.

Its name is one as `ours` makes them: a registered table may well be called `requested`.
"""

REQUESTED_DAYS = sql.SQL("__sqp_requested.first"), sql.SQL("__sqp_requested.last")


def target_name(table: Table) -> sql.Identifier:
    """Return the name of a table with its schema, for a statement with parameters."""
    return identifier(SCHEMA, table.name)


def in_period(table: Table) -> sql.Composable:
    """Return the condition that a row of the table is of one period, given by `period_params`."""
    return between_days(table, PERIOD_START, PERIOD_END)


def between_days(table: Table, first: sql.Composable, last: sql.Composable) -> sql.Composable:
    """Return the condition that a row of the table is of the period between two days."""
    if table.scope is None:
        return sql.SQL("true")
    return sql.SQL("{} BETWEEN {} AND {}").format(identifier(table.scope), first, last)


def period_params(period: Period) -> dict[str, date]:
    """Return the parameters of one period: its first and its last day."""
    return {"period_start": period.start, "period_end": period.end}


def requested_params(periods: Iterable[Period]) -> dict[str, list[date]]:
    """Return the parameters of `REQUESTED`: the first and the last day of each period."""
    every = list(periods)
    return {
        "first_days": [period.start for period in every],
        "last_days": [period.end for period in every],
    }
