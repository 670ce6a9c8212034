"""Measure what a table holds of one period, by a single pass over its rows.

What is reconciled, what is certified and where the rows lie is all in the one statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import sql

from sqp_refresh.checks.alterations import alterations_of, definition
from sqp_refresh.checks.certificates.target_sums import target_sums
from sqp_refresh.checks.metric_sql import (
    DISTINCT_ASIN_COUNT,
    ROW_COUNT,
    metric_names,
    reconciled_sums,
)
from sqp_refresh.ledger.target_version import TargetVersion, columns_hash, sum_of_hashes
from sqp_refresh.model.column_sums import ColumnSums
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import Table
from sqp_refresh.postgres.period_sql import in_period, period_params
from sqp_refresh.postgres.session import Session


@dataclass(frozen=True, slots=True)
class PeriodTotals:
    """What a table holds of a period.

    Attributes:
        target: Its rows, and where they lie.
        totals: The numbers that are compared with the source, by the names of their metrics.
        columns: What is certified of it, column by column.
        altered_by: The names of what may give the table's rows other values than are written.
    """

    target: TargetVersion
    totals: Mapping[str, int]
    columns: ColumnSums
    altered_by: Sequence[str] = ()


# The ASINs are counted where texts that rows share are hashed. What an aggregate of the totals and
# one of the certificate have in common, Postgres computes once.
_TOTALS = sql.SQL("""
SELECT {totals}, tuple_hash, {columns_hash}, {definition}, {asins}, {names} FROM {measured}
""")
_ASINS = sql.SQL("count(DISTINCT asin) AS asins")


def measure_period(session: Session, table: Table, period: Period) -> PeriodTotals:
    """Count and add up the rows of a period, and hash where they lie."""
    counts_asins = DISTINCT_ASIN_COUNT in metric_names(table)
    sums = {ROW_COUNT: sql.SQL("count(*)"), **reconciled_sums(table)}
    certified = target_sums(table)
    of_rows = [
        sql.SQL("coalesce({}, 0)::numeric AS {}").format(total, sql.Identifier(name))
        for name, total in sums.items()
    ]
    query = _TOTALS.format(
        totals=sql.SQL(", ").join(map(sql.Identifier, sums)),
        columns_hash=columns_hash(table),
        definition=definition(table),
        asins=sql.SQL("asins") if counts_asins else sql.NULL,
        names=certified.names,
        measured=certified.measured(
            table,
            in_period(table),
            of_rows=[sql.SQL("{} AS tuple_hash").format(sum_of_hashes()), *of_rows],
            of_texts={"asin": _ASINS} if counts_asins else None,
        ),
    )
    numbers = session.fetch_one(query, period_params(period))
    totals = dict(zip(sums, map(int, numbers[: len(sums)]), strict=True))
    tuple_hash, columns, defined, asins, *of_columns = numbers[len(sums) :]
    if counts_asins:
        totals[DISTINCT_ASIN_COUNT] = asins
    target = TargetVersion(totals[ROW_COUNT], int(tuple_hash), columns)
    altered_by = alterations_of(session, table, defined)
    return PeriodTotals(target, totals, certified.read(of_columns), altered_by)
