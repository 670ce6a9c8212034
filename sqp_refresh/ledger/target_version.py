"""What a table holds of a period: how many rows, and where they lie.

Whoever writes a row gives it another place, or another transaction that wrote it there; to read
these two takes a twentieth of the time that its values would. Whoever drops a column and adds one
of its name writes no row, but gives the table another column.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session


@dataclass(frozen=True, slots=True)
class TargetVersion:
    """The rows that a table holds of a period: how many, and a fingerprint of where they lie."""

    rows: int
    state: str

    def after(self, inserted: int, moved: int) -> "TargetVersion":
        """What is held once nothing has happened but this.

        Args:
            inserted: Rows more than now.
            moved: The places that rows have now, less those that they had.
        """
        places, columns = self.state.split(" ")
        return TargetVersion(self.rows + inserted, f"{int(places) + moved} {columns}")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Rows that a table held of a period when it was published.

    Attributes:
        held: How many they are, and where they lie.
        fingerprints: What they were made of, a fingerprint of each; empty for those that Postgres
            has computed.
    """

    held: TargetVersion
    fingerprints: bytes = b""


PLACE = sql.SQL("hash_record_extended(ROW(tableoid, ctid, xmin), 0)")
"""Where a row lies, as a number of 64 bits."""

# Places are added, not combined by XOR, under which two equal ones would cancel out.
_STATE = sql.SQL("""
coalesce(sum({place}), 0)::text || (
    SELECT ' ' || md5(string_agg(concat_ws(' ', attnum, attname), ',' ORDER BY attnum))
    FROM pg_attribute
    WHERE attrelid = {table}::regclass AND attnum > 0 AND NOT attisdropped
)
""")
WANTED = sql.SQL("wanted.first"), sql.SQL("wanted.last")
"""The days of a period, of several that a query asks for."""

_HELD = sql.SQL("""
SELECT wanted.first, wanted.last, held.rows, held.state
FROM (VALUES {wanted}) AS wanted (first, last)
CROSS JOIN LATERAL (
    SELECT count(*) AS rows, {state} AS state FROM {target} WHERE {within}
) AS held
""")


def held(session: Session, table: Table, periods: Iterable[Period]) -> dict[Period, TargetVersion]:
    """What the table holds of each of these periods now."""
    wanted = period_rows(periods)
    if wanted is None:
        return {}
    query = _HELD.format(
        wanted=wanted,
        state=state_of(table),
        target=sql.Identifier(SCHEMA, table.name),
        within=within(table, *WANTED),
    )
    return {
        Period(first, last): TargetVersion(*found) for first, last, *found in session.rows(query)
    }


def state_of(table: Table, place: sql.Composable = PLACE) -> sql.Composed:
    """The fingerprint of where rows lie, as an aggregate over them or over sums of their places."""
    named = sql.Identifier(SCHEMA, table.name).as_string(None)
    return _STATE.format(place=place, table=sql.Literal(named))


def of_period(table: Table, period: Period) -> sql.Composable:
    """Whether a row of the table belongs to a period."""
    return within(table, sql.Literal(period.start), sql.Literal(period.end))


def within(table: Table, first: sql.Composable, last: sql.Composable) -> sql.Composable:
    """Whether a row of the table belongs to the period between these days."""
    if table.scope is None:
        return sql.SQL("true")
    return sql.SQL("{} BETWEEN {} AND {}").format(sql.Identifier(table.scope), first, last)


def period_rows(periods: Iterable[Period]) -> sql.Composed | None:
    """Periods as the rows of VALUES; None for none, which SQL has no VALUES for."""
    rows = [
        sql.SQL("({}::date, {}::date)").format(sql.Literal(one.start), sql.Literal(one.end))
        for one in periods
    ]
    return sql.SQL(", ").join(rows) if rows else None
