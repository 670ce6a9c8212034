"""Return a derived table's rows as SQL: a query for each period that the weeks touch."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from psycopg import sql

from sqp_refresh.ledger.parent_versions import read_parent_versions
from sqp_refresh.model.periods import Period, periods_touched
from sqp_refresh.model.rows import PeriodRows, ReadStats
from sqp_refresh.model.tables import SCHEMA, SEARCH_QUERY_PERFORMANCE, Table
from sqp_refresh.model.versions import ParentVersions
from sqp_refresh.postgres.session import Session
from sqp_refresh.rollup.queries import rollup_query

_WEEKS_PRESENT = sql.SQL("SELECT DISTINCT start_date FROM {} ORDER BY start_date")


@dataclass(slots=True)
class RollupSource:
    """The rows of a derived table, which Postgres computes.

    Attributes:
        table: The derived table.
        weeks: The weeks that were refreshed; None recomputes every period there is data for.
        batch_size: Of no meaning here: the rows never leave Postgres.
        stats: How the rows were read.
    """

    table: Table
    weeks: Iterable[Period] | None = None
    batch_size: int | None = None
    stats: ReadStats = field(default_factory=lambda: ReadStats(method="SQL in Postgres"))

    def periods(self, session: Session) -> Sequence[Period]:
        """Return whole periods, whatever part of them was refreshed."""
        weeks = weeks_present(session) if self.weeks is None else self.weeks
        return periods_touched(weeks, self.table.grain)

    def versions(
        self, session: Session, periods: Sequence[Period]
    ) -> Mapping[Period, ParentVersions]:
        """Read which run last changed each of the periods' weeks, in the parent tables."""
        return read_parent_versions(session, self.table, periods)

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        """Return one query for each period."""
        for period in periods:
            yield PeriodRows(period, rollup_query(self.table))


def weeks_present(session: Session) -> list[Period]:
    """List the weeks that the table under all derived ones holds."""
    name = sql.Identifier(SCHEMA, SEARCH_QUERY_PERFORMANCE.name)
    return [Period.week_of(sunday) for (sunday,) in session.fetch_all(_WEEKS_PRESENT.format(name))]
