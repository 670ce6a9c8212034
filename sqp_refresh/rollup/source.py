"""A derived table's rows as SQL, one query for each period that the refreshed weeks touch."""

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from psycopg import sql

from sqp_refresh.ledger.ledger import inputs
from sqp_refresh.model.periods import Period, periods_touched
from sqp_refresh.model.rows import PeriodRows, ReadStats, State
from sqp_refresh.model.tables import SCHEMA, SEARCH_QUERY_PERFORMANCE, Table
from sqp_refresh.postgres.session import Session
from sqp_refresh.rollup.queries import rollup_query


@dataclass(slots=True)
class RollupSource:
    """Feeds a derived table.

    Attributes:
        table: The derived table.
        weeks: The weeks that were refreshed; None recomputes every period there is data for.
        batch_size: Of no meaning here: the rows never leave Postgres.
    """

    table: Table
    weeks: Iterable[Period] | None = None
    batch_size: int | None = None
    stats: ReadStats = field(default_factory=lambda: ReadStats(method="SQL in Postgres"))

    def periods(self, session: Session) -> Sequence[Period]:
        """Whole periods, whatever part of them was refreshed."""
        weeks = weeks_present(session) if self.weeks is None else self.weeks
        return periods_touched(weeks, self.table.grain)

    def states(self, session: Session, periods: Sequence[Period]) -> Mapping[Period, State]:
        """What each period's weeks were last changed by, in the tables that it is made from."""
        return inputs(session, self.table, periods)

    def parts(self, periods: Sequence[Period]) -> Generator[PeriodRows]:
        """One query for each period."""
        for period in periods:
            yield PeriodRows(period, rollup_query(self.table, period))


def weeks_present(session: Session) -> list[Period]:
    """The weeks that the table under all derived ones holds."""
    days: list[tuple[date]] = session.rows(
        sql.SQL("SELECT DISTINCT start_date FROM {} ORDER BY start_date").format(
            sql.Identifier(SCHEMA, SEARCH_QUERY_PERFORMANCE.name)
        )
    )
    return [Period.week_of(day) for (day,) in days]
