"""What a table holds of one period, told by a single pass over its rows."""

from collections.abc import Mapping
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.checks.metric_sql import (
    DISTINCT_ASIN_COUNT,
    ROW_COUNT,
    metric_names,
    reconciled_sums,
)
from sqp_refresh.ledger.target_version import PLACE, TargetVersion, of_period, state_of
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """What a table holds of a period.

    Attributes:
        held: Its rows, and where they lie.
        numbers: Those that are compared with the source, by the names of their measures.
    """

    held: TargetVersion
    numbers: Mapping[str, int]


# Added up by ASIN first, so that to count the ASINs takes no pass of its own.
_INVENTORY = sql.SQL("""
SELECT {totals}, {state}, count(*)
FROM (
    SELECT sum({place}) AS places, {sums} FROM {table} WHERE {within} GROUP BY {asin}
) AS asins
""")


def measure_period(session: Session, table: Table, period: Period) -> PeriodTotals:
    """Count, add up and locate the rows of a period."""
    reconciled = reconciled_sums(table)
    counts_asins = DISTINCT_ASIN_COUNT in metric_names(table)
    sums = {ROW_COUNT: sql.SQL("count(*)"), **reconciled}
    *totals, state, asins = session.row(
        _INVENTORY.format(
            state=state_of(table, sql.Identifier("places")),
            totals=sql.SQL(", ").join(
                sql.SQL("coalesce(sum({}), 0)::bigint").format(sql.Identifier(name))
                for name in sums
            ),
            place=PLACE,
            sums=sql.SQL(", ").join(
                sql.SQL("{} AS {}").format(one, sql.Identifier(name)) for name, one in sums.items()
            ),
            table=sql.Identifier(SCHEMA, table.name),
            within=of_period(table, period),
            asin=sql.Identifier("asin") if counts_asins else sql.SQL("()"),
        )
    )
    numbers = dict(zip(sums, totals, strict=True))
    if counts_asins:
        numbers[DISTINCT_ASIN_COUNT] = asins
    return PeriodTotals(TargetVersion(numbers[ROW_COUNT], state), numbers)
