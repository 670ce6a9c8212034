"""Keep in the ledger which periods failed when they were last judged, and list what to make again.

A failed verdict on a period stays until that period is judged again. Nights judge the weeks that
they look at, so that whatever is older would be forgotten otherwise.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sqp_refresh.ledger.ledger import LedgerEntry
from sqp_refresh.ledger.staleness import periods_behind_parents
from sqp_refresh.model.periods import Period, is_of_grain
from sqp_refresh.model.tables import SCHEMA, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema

_FAILED_PERIODS = in_schema("""
SELECT period_start, period_end FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND table_name = %(table)s AND failed_metrics <> '{}'
ORDER BY period_start
""")
_NEED_RELOAD = in_schema("""
SELECT table_name, period_start, period_end FROM sqp.refresh_periods
WHERE table_schema = %(schema)s AND needs_reload
ORDER BY table_name, period_start
""")
_FAILED = in_schema("""
SELECT table_name AS table, metric, period_start, period_end
FROM sqp.refresh_periods, unnest(failed_metrics) AS metric
WHERE table_schema = %(schema)s
ORDER BY metric, table_name, period_start
""")
# A period that was published anew since it was judged has a verdict to come.
_KEEP = in_schema("""
UPDATE sqp.refresh_periods AS entry
SET failed_metrics = array(SELECT jsonb_array_elements_text(judged.failed) ORDER BY 1),
    needs_reload = entry.needs_reload OR judged.reload
FROM jsonb_to_recordset(%(verdicts)s) AS judged (
    period_start date, published_at timestamptz, failed jsonb, reload boolean
)
WHERE table_schema = %(schema)s AND table_name = %(table)s
    AND entry.period_start = judged.period_start AND entry.published_at = judged.published_at
""")


@dataclass(frozen=True, slots=True)
class PeriodVerdict:
    """What a period fails in.

    Attributes:
        failed_metrics: Names of the metrics.
        needs_reload: Whether to make the period again may change that.
    """

    failed_metrics: Collection[str]
    needs_reload: bool


@dataclass(frozen=True, slots=True)
class FailedMetric:
    """A metric that failed when a period was last judged by it.

    Attributes:
        table: Name of the table.
        metric: Name of the metric.
        period_start: First day of the period.
        period_end: Last day of the period.
    """

    table: str
    metric: str
    period_start: date
    period_end: date

    @property
    def period(self) -> Period:
        """The period."""
        return Period(self.period_start, self.period_end)


def periods_to_repair(session: Session, table: Table) -> list[Period]:
    """List the periods that the next refresh makes again, whichever weeks it is asked for.

    They are those that did not equal their source when they were last judged, or that somebody else
    wrote to, and of a derived table those that are not made from what its parents hold now.
    """
    doubted = periods_to_reload(session, [table]).get(table.name, [])
    # A derived period follows the weeks that it is made from, also those that no night looks at.
    behind = periods_behind_parents(session, table) if table.source is None else []
    return sorted({*doubted, *behind})


def failed_periods(session: Session, table: Table) -> list[Period]:
    """List the periods that failed when they were last judged."""
    periods = [Period(*days) for days in session.fetch_all(_FAILED_PERIODS, _params(table))]
    return [period for period in periods if is_of_grain(period, table.grain)]


def periods_to_reload(session: Session, tables: Iterable[Table]) -> dict[str, list[Period]]:
    """List the periods of some tables that a check or a load has marked to be made again.

    Returns:
        The periods by the name of their table; a table without any is not in it.
    """
    by_name = {table.name: table for table in tables}
    marked: dict[str, list[Period]] = {}
    for name, first, last in session.fetch_all(_NEED_RELOAD, {"schema": SCHEMA}):
        if name in by_name and is_of_grain(period := Period(first, last), by_name[name].grain):
            marked.setdefault(name, []).append(period)
    return marked


def read_failed_metrics(session: Session) -> list[FailedMetric]:
    """Read every failed verdict that stands, of all tables, by metric."""
    return session.fetch_all(_FAILED, {"schema": SCHEMA}, row_factory=class_row(FailedMetric))


def keep_verdicts(
    session: Session,
    table: Table,
    entries: Mapping[Period, LedgerEntry],
    verdicts: Mapping[Period, PeriodVerdict],
) -> None:
    """Keep the verdicts on some periods, which stay until these periods are judged again.

    Args:
        session: A session in a transaction.
        table: The table.
        entries: How each of the periods was last loaded, as it was judged.
        verdicts: What they fail in; where that is what the ledger says, nothing is written.
    """
    rows = [
        {
            "period_start": str(period.start),
            "published_at": str(entries[period].published_at),
            "failed": sorted(verdict.failed_metrics),
            "reload": verdict.needs_reload,
        }
        for period, verdict in verdicts.items()
        if _is_news(entries[period], verdict)
    ]
    if rows:
        session.execute(_KEEP, _params(table) | {"verdicts": Jsonb(rows)})


def _is_news(entry: LedgerEntry, verdict: PeriodVerdict) -> bool:
    fails_otherwise = entry.failed_metrics != frozenset(verdict.failed_metrics)
    return fails_otherwise or (verdict.needs_reload and not entry.needs_reload)


def _params(table: Table) -> dict[str, Any]:
    return {"schema": SCHEMA, "table": table.name}
