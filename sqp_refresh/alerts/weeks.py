"""Alert receivers that ask for it of weeks that came, and of weeks that are final."""

from dataclasses import dataclass
from datetime import date, datetime

from psycopg.rows import class_row

from sqp_refresh.alerts.outbox import Alert, enqueue
from sqp_refresh.model.events import BY_NAME_ONLY, Event
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import Settings

# Where nobody asks, nothing is computed. What a first load found was there before: it is no news.
_NEWS = in_schema("""
SELECT found.marketplace, found.week, found.rows, found.asins, found.asins_expected,
    found.last_changed_at, found.state = 'final' AS is_final
FROM sqp.week_finality_at(now()) AS found
LEFT JOIN sqp.week_finality_at(%(before)s) AS before
    ON before.marketplace = found.marketplace AND before.week = found.week
WHERE %(before)s::timestamptz IS NOT NULL
    AND (%(is_asked)s OR EXISTS (
        SELECT FROM sqp.webhook_configs WHERE is_enabled AND events && %(events)s::text[]
    ))
    AND (
        found.state = 'final' AND before.state <> 'final'
        OR found.first_seen_at > %(before)s AND NOT found.was_there_before
    )
ORDER BY found.marketplace, found.week
""")


@dataclass(frozen=True, slots=True)
class _News:
    marketplace: str
    week: date
    rows: int
    asins: int
    asins_expected: int | None
    last_changed_at: datetime
    is_final: bool

    @property
    def message(self) -> str:
        usual = f"; {self.asins_expected:,} are usual" if self.asins_expected else ""
        what = "is final" if self.is_final else "arrived"
        return (
            f"the week of {self.week} of {self.marketplace} {what}: "
            f"{self.rows:,} rows of {self.asins:,} ASINs{usual}"
        )


def alert_of_weeks(
    session: Session, *, before: datetime | None, audit_log_id: int, run_id: str
) -> None:
    """Alert receivers of the weeks that came or became final since the source was last looked at.

    Args:
        session: A session in the transaction that enters the look of now.
        before: When it was looked at before; None where it never was, so that nothing is news.
        audit_log_id: The run that looks.
        run_id: The same run, by its id.
    """
    params = {
        "before": before,
        "events": [event.value for event in BY_NAME_ONLY],
        "is_asked": not BY_NAME_ONLY.isdisjoint(Settings.read().alert_events),
    }
    for week in session.fetch_all(_NEWS, params, row_factory=class_row(_News)):
        event = Event.WEEK_FINAL if week.is_final else Event.WEEK_ARRIVED
        cause = f"{week.marketplace} {week.week} {week.last_changed_at if week.is_final else ''}"
        alert = Alert(
            event,
            SEARCH_QUERY_PERFORMANCE.name,
            week.message,
            cause,
            session.now(),
            audit_log_id,
            run_id,
            weeks=[str(week.week)],
        )
        enqueue(session, alert)
