"""Call a URL while the nights go on, so that somebody else notices when nobody here can.

Alerts wait for the daemon, and so they cannot tell that it is dead. A service that expects to be
called, such as Healthchecks or Uptime Kuma, tells when the calls stop. It is called where
REFRESH_HEARTBEAT_URL says if all is well, and at `/fail` below that if a table failed or is
overdue.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit, urlunsplit

from sqp_refresh.alerts.outbox import DeliveryResult
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import Settings

EVERY = timedelta(minutes=5)
"""How often it is called at least, while the daemon lives."""

DEADLINE_S = 5

_STATE = in_schema("""
SELECT
    (
        SELECT coalesce(max(id), 0) FROM sqp.refresh_audit_log
        WHERE refresh_completed_at IS NOT NULL
    ),
    EXISTS (SELECT FROM sqp.refresh_freshness WHERE is_enabled AND last_status = 'failed'),
    EXISTS (SELECT FROM sqp.refresh_audit_log WHERE refresh_completed_at IS NULL)
""")


def beat_if_due(
    session: Session, settings: Settings, overdue: Sequence[str], before: str | None, now: datetime
) -> tuple[str | None, DeliveryResult | None]:
    """Make the call if a night has ended since the last one, or that was some minutes ago.

    Whatever goes wrong with it is in the result: it is tried again at the next call of this.

    Args:
        session: A session in no transaction.
        settings: What to call.
        overdue: The tables that were due and were not refreshed.
        before: What this returned first when it last made the call; None where it never did.
        now: The time.

    Returns:
        What to hand over as `before` the next time, and what came of the call; the latter is None
        where none was due.
    """
    if settings.REFRESH_HEARTBEAT_URL is None:
        return None, None
    latest_run, has_failed, is_at_work = session.fetch_one(_STATE)
    session.rollback()
    is_well = not has_failed and not overdue
    made_at, _, state = (before or "").partition(" ")
    state_now = f"{latest_run if not is_at_work else '-'} {is_well}"
    has_ended = state != state_now and not is_at_work
    if before and not has_ended and now - datetime.fromisoformat(made_at) < EVERY:
        return before, None
    result = beat(settings, is_well=is_well)
    return (before if result.error else f"{now.isoformat()} {state_now}"), result


def beat(settings: Settings, *, is_well: bool) -> DeliveryResult:
    """Make the call; whatever goes wrong is in the result, without the URL, which may be secret."""
    # Imported here, because an HTTP client takes a while to import.
    from sqp_refresh.alerts.webhook import call

    assert settings.REFRESH_HEARTBEAT_URL, "there is something to call"
    url = settings.REFRESH_HEARTBEAT_URL.get_secret_value()
    try:
        url = url if is_well else failure_url(url)
        return call(settings, "GET", url, {}, b"", deadline_s=DEADLINE_S)
    except Exception as error:  # One address that nobody foresaw must not hold up the alerts.
        return DeliveryResult(f"could not be called ({type(error).__name__})")


def failure_url(url: str) -> str:
    """Return the address that says that something is wrong: with /fail at the end of its path."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/fail"))
