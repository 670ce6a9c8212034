"""Write the weekly digest, for those receivers that name its event: what seven days did."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

from psycopg.rows import class_row, dict_row

from sqp_refresh.alerts import mutes
from sqp_refresh.alerts.outbox import Alert, enqueue
from sqp_refresh.model.events import Event
from sqp_refresh.model.text import listing, utc_minute
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import Settings

DAYS = 7
SENT_AT = timedelta(hours=6)
"""How long after Monday has begun, in UTC, the next digest is sent: when its night is over."""

ALL_TABLES = "all tables"
COMMAND = "sqp-refresh status"

# Whoever asks for it in the middle of a week gets one at once.
_IS_DUE = in_schema("""
SELECT EXISTS (
    SELECT FROM (
        SELECT name FROM sqp.webhook_configs WHERE is_enabled AND %(event)s = ANY(events)
        UNION ALL
        SELECT unnest(%(receivers)s::text[])
    ) AS subscriber
    WHERE NOT EXISTS (
        SELECT FROM sqp.webhook_deliveries AS sent
        WHERE sent.cause = %(cause)s AND sent.receiver = subscriber.name
    )
)
""")
_TABLES = in_schema("""
SELECT fresh.table_name AS table, is_enabled,
    count(run) AS refreshes, count(run) FILTER (WHERE status = 'failed') AS failed,
    count(run) FILTER (WHERE status = 'warning') AS warnings,
    coalesce(sum(rows_inserted), 0)::bigint AS inserted,
    coalesce(sum(rows_updated), 0)::bigint AS updated,
    coalesce(sum(rows_deleted), 0)::bigint AS deleted,
    newest_period_start::text AS newest
FROM sqp.refresh_freshness AS fresh
LEFT JOIN sqp.refresh_runs AS run ON run.table_name = fresh.table_name
    AND completed_at IS NOT NULL AND started_at >= %(since)s
GROUP BY fresh.table_name, is_enabled, newest_period_start, priority
ORDER BY priority DESC, fresh.table_name
""")
_COUNTS = in_schema("""
SELECT
    (
        SELECT count(DISTINCT period_start) FROM sqp.refresh_periods
        WHERE first_published_at >= %(since)s AND row_count > 0 AND period_end - period_start < 7
    ) AS new_weeks,
    (
        SELECT count(DISTINCT period_start) FROM sqp.restatements
        WHERE restated_at >= %(since)s AND period_end - period_start < 7
    ) AS restated_weeks,
    (SELECT count(*) FROM sqp.refresh_quarantine WHERE replayed_at IS NULL) AS rows_in_quarantine
""")


@dataclass(frozen=True, slots=True)
class TableWeek:
    """What the refreshes of seven days did to one table.

    Attributes:
        table: Name of the table.
        is_enabled: Whether it is refreshed.
        refreshes: Refreshes that ended (count).
        failed: Those that failed (count).
        warnings: Those that went through with a warning (count).
        inserted: Rows that were new (count).
        updated: Rows that changed (count).
        deleted: Rows that vanished (count).
        newest: First day of its newest week or period; None where it has no rows.
    """

    table: str
    is_enabled: bool
    refreshes: int
    failed: int
    warnings: int
    inserted: int
    updated: int
    deleted: int
    newest: str | None


def send_if_due(session: Session, settings: Settings, now: datetime) -> None:
    """Write the digest of the last seven days into the outbox, once from Monday to Monday.

    Args:
        session: A session in a transaction.
        settings: Which receivers ask for it.
        now: The time.
    """
    begun = now - SENT_AT
    monday = begun.date() - timedelta(days=begun.weekday())
    is_asked_for = Event.DIGEST in settings.alert_events
    alert = Alert(Event.DIGEST, ALL_TABLES, None, f"of the week of {monday}", now)
    params = {
        "event": alert.event.value,
        "cause": alert.key,
        "receivers": list(settings.receivers) if is_asked_for else [],
    }
    (is_due,) = session.fetch_one(_IS_DUE, params)
    if is_due:
        enqueue(session, _digest(session, alert, now))


def _digest(session: Session, alert: Alert, now: datetime) -> Alert:
    params = {"since": now - timedelta(days=DAYS)}
    tables = session.fetch_all(_TABLES, params, row_factory=class_row(TableWeek))
    (counts,) = session.fetch_all(_COUNTS, params, row_factory=dict_row)
    muted = mutes.list_mutes(session)
    facts = [*_facts(tables), f"new weeks: {counts['new_weeks']}"]
    facts.append(f"restated weeks: {counts['restated_weeks']}")
    if waiting := counts["rows_in_quarantine"]:
        facts.append(f"{waiting:,} rows wait in quarantine")
    if muted:
        facts.append(f"muted: {listing(mute.subject for mute in muted)}")
    figures = {
        "since": params["since"].isoformat(),
        "tables": [asdict(table) for table in tables],
        "muted": [str(mute) for mute in muted],
        **counts,
    }
    message = f"the {DAYS} days to {utc_minute(now)}: {'; '.join(facts)}"
    return replace(alert, message=message, command=COMMAND, details={"digest": figures})


def _facts(tables: Sequence[TableWeek]) -> Iterator[str]:
    ended = sum(table.refreshes for table in tables)
    good = ended - sum(table.failed for table in tables)
    yield f"{good:,} of {ended:,} refreshes went through" if ended else "no refresh has ended"
    yield (
        f"{sum(table.inserted for table in tables):,} rows inserted, "
        f"{sum(table.updated for table in tables):,} updated, "
        f"{sum(table.deleted for table in tables):,} deleted"
    )
    if failed := [f"{table.table} ({table.failed})" for table in tables if table.failed]:
        yield f"failed: {listing(failed)}"
    if off := [table.table for table in tables if not table.is_enabled]:
        yield f"switched off: {listing(off)}"
