"""Measure what a table holds of one period, by a single pass over its rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.checks.alterations import alterations_of, definition
from sqp_refresh.checks.metric_sql import (
    DISTINCT_ASIN_COUNT,
    ROW_COUNT,
    metric_names,
    reconciled_sums,
)
from sqp_refresh.ledger.target_version import (
    TUPLE_HASH,
    TargetVersion,
    columns_hash,
    sum_of_hashes,
)
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.period_sql import in_period, period_params, target_name
from sqp_refresh.postgres.session import Session


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """What a table holds of a period.

    Attributes:
        target: Its rows, and where they lie.
        totals: The numbers that are compared with the source, by the names of their metrics.
        altered_by: The names of what may give the table's rows other values than are written.
    """

    target: TargetVersion
    totals: Mapping[str, int]
    altered_by: Sequence[str] = ()


# Added up by ASIN first, so that to count the ASINs takes no pass of its own.
_TOTALS = sql.SQL("""
SELECT {totals}, {tuple_hash}, {columns_hash}, {definition}, count(*)
FROM (
    SELECT sum({row_hash}) AS tuple_hash, {sums} FROM {table} WHERE {in_period} GROUP BY {asin}
) AS asins
""")


def measure_period(session: Session, table: Table, period: Period) -> PeriodTotals:
    """Count and add up the rows of a period, and hash where they lie."""
    counts_asins = DISTINCT_ASIN_COUNT in metric_names(table)
    sums = {ROW_COUNT: sql.SQL("count(*)"), **reconciled_sums(table)}
    query = _TOTALS.format(
        totals=sql.SQL(", ").join(
            sql.SQL("coalesce(sum({}), 0)::numeric").format(sql.Identifier(name)) for name in sums
        ),
        tuple_hash=sum_of_hashes(sql.Identifier("tuple_hash")),
        columns_hash=columns_hash(table),
        definition=definition(table),
        row_hash=TUPLE_HASH,
        sums=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(total, sql.Identifier(name)) for name, total in sums.items()
        ),
        table=target_name(table),
        in_period=in_period(table),
        asin=sql.Identifier("asin") if counts_asins else sql.SQL("()"),
    )
    *values, tuple_hash, columns, defined, asins = session.fetch_one(query, period_params(period))
    totals = dict(zip(sums, map(int, values), strict=True))
    if counts_asins:
        totals[DISTINCT_ASIN_COUNT] = asins
    target = TargetVersion(totals[ROW_COUNT], int(tuple_hash), columns)
    return PeriodTotals(target, totals, alterations_of(session, table, defined))
