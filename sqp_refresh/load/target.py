"""Describe the target of a load: a period of a table, and what decides how it is loaded."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from sqp_refresh.checks.alterations import read_alterations
from sqp_refresh.load.copy import catalog_types
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.period_sql import (
    REQUESTED,
    REQUESTED_DAYS,
    between_days,
    period_params,
    requested_params,
    target_name,
)
from sqp_refresh.postgres.session import Session

# COPY leaves policies aside, and Postgres refuses it to whom they bind.
_ROW_SECURITY = "SELECT row_security_active(%(table)s::regclass)"
_WITH_ROWS = sql.SQL("""
SELECT __sqp_requested.first, __sqp_requested.last FROM {requested}
WHERE EXISTS (SELECT FROM {table} WHERE {in_period})
""")


@dataclass(frozen=True, slots=True)
class TargetPeriod:
    """One period of one table, as one transaction writes it.

    Attributes:
        table: The table.
        period: The period.
        recorded_by: The run under which each row that is changed is put on record as it was before;
            None where no row is: at the first publish, or where no history is kept.
    """

    table: Table
    period: Period
    recorded_by: int | None = None

    @property
    def is_recorded(self) -> bool:
        """Whether each row that is changed is put on record as it was before."""
        return self.recorded_by is not None

    @property
    def params(self) -> dict[str, Any]:
        """The parameters of a statement that writes it."""
        return period_params(self.period) | {"audit_log_id": self.recorded_by}


@dataclass(frozen=True, slots=True)
class TargetTable:
    """What of a table decides how its periods are loaded.

    Attributes:
        accepts_copy: Whether COPY may put rows into it: its types are what we made them, and no row
            security binds the user.
        periods_with_rows: Those of the periods to load that it has a row of.
        is_altered: Whether something may give its rows other values than are written.
    """

    accepts_copy: bool
    periods_with_rows: frozenset[Period]
    is_altered: bool = False


def accepts_copy(session: Session, table: Table) -> bool:
    """Return whether COPY may put rows into a table: see `TargetTable`."""
    name = sql.Identifier(SCHEMA, table.name)
    (is_bound,) = session.fetch_one(_ROW_SECURITY, {"table": name.as_string(None)})
    types = catalog_types(session, name)
    return not is_bound and all(types.get(column.name) == column.type for column in table.columns)


def inspect_target(session: Session, table: Table, periods: Collection[Period]) -> TargetTable:
    """Look at a table before periods of it are loaded.

    A table that Postgres computes a column of never takes rows by COPY, so no period of it is
    looked at; one whose rows may be altered is always compared.
    """
    is_altered = bool(periods) and bool(read_alterations(session, table))
    is_computed = table.source is None or table.ratios or table.medians
    if is_computed or is_altered or not periods:
        return TargetTable(accepts_copy=False, periods_with_rows=frozenset(), is_altered=is_altered)
    query = _WITH_ROWS.format(
        requested=REQUESTED,
        table=target_name(table),
        in_period=between_days(table, *REQUESTED_DAYS),
    )
    rows = session.fetch_all(query, requested_params(periods))
    return TargetTable(
        accepts_copy=accepts_copy(session, table),
        periods_with_rows=frozenset(Period(first, last) for first, last in rows),
    )
