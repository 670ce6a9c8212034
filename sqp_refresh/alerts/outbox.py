"""Store in `sqp.webhook_deliveries` the alerts that are to be sent, a row for each receiver.

An alert is written in the transaction of what it reports, so neither is there without the other.
A sender locks its row until the attempt is settled: two senders never send the same alert at once,
and one whose sender died is sent again under the same id.
"""

import random
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from sqp_refresh.alerts.mutes import IS_MUTED
from sqp_refresh.model.events import BY_NAME_ONLY, Event, Severity
from sqp_refresh.model.tables import SCHEMA
from sqp_refresh.model.text import printable, utc_minute
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import Settings

MAX_ATTEMPTS = 8
"""Attempts at a receiver that a setting names; one in `sqp.webhook_configs` has its own number."""

PAUSES_S = (5, 30, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
"""How long after each failed attempt the next one is due; the last pause is that of all others."""

_JITTER = 0.2
"""Up to this much of a pause is added to it, so that what failed together is not tried together."""

# The unique key (receiver, cause) drops an alert that a receiver was sent before. A re-run may put
# into other words what its table was alerted of already.
_ENQUEUE = in_schema(f"""
INSERT INTO sqp.webhook_deliveries
    (event_id, cause, webhook_config_id, receiver, audit_log_id, event, payload)
SELECT %(event_id)s, %(cause)s, subscriber.id, subscriber.name, %(audit_log_id)s::bigint,
    %(event)s, %(payload)s
FROM (
    SELECT id, name FROM sqp.webhook_configs
    WHERE is_enabled AND (events IS NULL AND NOT %(by_name_only)s OR %(event)s = ANY(events))
    UNION ALL
    SELECT NULL, unnest(%(receivers)s::text[])
) AS subscriber
WHERE NOT {IS_MUTED} AND NOT EXISTS (
    SELECT FROM sqp.webhook_deliveries AS earlier
    WHERE earlier.receiver = subscriber.name AND starts_with(earlier.cause, %(alike)s)
        AND earlier.payload->'tables' ? %(table)s
)
ON CONFLICT DO NOTHING
""")  # noqa: S608, nothing is put in that is not written in this package
# What a sender has locked is on its way, and goes as it is: nobody waits for it.
_JOIN = in_schema(f"""
UPDATE sqp.webhook_deliveries
SET payload = jsonb_set(payload, '{{tables}}', payload->'tables' || to_jsonb(%(table)s::text))
WHERE id IN (
    SELECT id FROM sqp.webhook_deliveries
    WHERE cause = %(cause)s AND status = 'pending' AND NOT payload->'tables' ? %(table)s
        AND NOT {IS_MUTED}
    FOR UPDATE SKIP LOCKED
)
""")  # noqa: S608, nothing is put in that is not written in this package
_RETRACT = in_schema("""
DELETE FROM sqp.webhook_deliveries WHERE id IN (
    SELECT id FROM sqp.webhook_deliveries
    WHERE audit_log_id = %(audit_log_id)s AND event = %(event)s AND status = 'pending'
        AND payload->'tables' = to_jsonb(ARRAY[%(table)s::text])
    FOR UPDATE SKIP LOCKED
)
""")
# A row that another sender has locked is skipped, not waited for.
_CLAIM = in_schema("""
SELECT delivery.id, event_id, delivery.event, receiver, payload, attempts,
    coalesce(max_attempts, %(max_attempts)s) AS max_attempts,
    webhook_config_id IS NOT NULL AS is_registered, url, is_enabled, secret_names,
    clock_timestamp() AS claimed_at
FROM sqp.webhook_deliveries AS delivery
LEFT JOIN sqp.webhook_configs AS config ON config.id = webhook_config_id
WHERE status = 'pending' AND next_retry_at <= now() AND NOT receiver = ANY(%(resting)s::text[])
ORDER BY next_retry_at, delivery.id
LIMIT 1
FOR UPDATE OF delivery SKIP LOCKED
""")
_SETTLE = in_schema("""
UPDATE sqp.webhook_deliveries
SET status = %(status)s, attempts = attempts + 1, response_status = %(response_status)s,
    last_error = %(error)s,
    next_retry_at = clock_timestamp() + make_interval(secs => %(pause_s)s),
    delivered_at = CASE WHEN %(is_delivered)s THEN clock_timestamp() END
WHERE id = %(id)s
""")
_UNDELIVERED = in_schema("""
SELECT event_id AS id, event, payload->>'table_name' AS table_name, receiver, status, attempts,
    created_at, CASE status WHEN 'pending' THEN next_retry_at END AS next_attempt_at,
    response_status, last_error
FROM sqp.webhook_deliveries AS delivery WHERE status <> 'delivered' ORDER BY delivery.id
""")
_RETRY = in_schema("""
UPDATE sqp.webhook_deliveries
SET status = 'pending', attempts = CASE status WHEN 'pending' THEN attempts ELSE 0 END,
    next_retry_at = now()
WHERE status <> 'delivered'
""")


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that happened, of which receivers are alerted.

    Attributes:
        event: What has happened.
        table: The table that it has happened to.
        message: What there is to say of it, in one line; None where the event says it all.
        cause: What sets it apart from other such events of the table. A receiver is alerted of each
            cause once.
        at: When it happened.
        audit_log_id: The run that it is about, by its row in the audit log.
        run_id: The same run, by its id.
        is_by_operator: Whether it is what an operator asked for, so that nobody has to look.
        weeks: The first days of the weeks or periods that it is about, as texts.
        command: With which command an operator begins.
        shared: What sets the cause apart where several tables have it in common; they are one
            alert then. None where it is this table's own.
        alike: How a cause begins that the table was alerted of before and that is this one in other
            words; None where there is none.
        details: What else a webhook receives, by name.
    """

    event: Event
    table: str
    message: str | None
    cause: str
    at: datetime
    audit_log_id: int | None = None
    run_id: str | None = None
    is_by_operator: bool = False
    weeks: Sequence[str] = ()
    command: str | None = None
    shared: str | None = None
    alike: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What a receiver is alerted of once."""
        return f"{self.event} {self.shared or f'{self.table} {self.cause}'}"

    @property
    def severity(self) -> Severity:
        """How soon somebody has to look."""
        return Severity.LOW if self.is_by_operator else self.event.severity

    @property
    def payload(self) -> dict[str, Any]:
        """What there is to say of the event itself, as a webhook receives it."""
        return {
            "event": self.event,
            "severity": self.severity,
            "table_name": self.table,
            "error_message": self.message and printable(self.message),
            "audit_log_id": self.audit_log_id,
            "run_id": self.run_id,
            "occurred_at": self.at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert on its way to one receiver.

    Attributes:
        id: Its row in sqp.webhook_deliveries.
        event_id: The alert's id, the same in every attempt.
        event: What has happened.
        receiver: The receiver's name.
        payload: The alert, as a webhook receives it.
        attempts: How many were made before.
        max_attempts: How many are made in all.
        is_registered: Whether the receiver is a row of `sqp.webhook_configs`, not a setting.
        url: That row's address.
        is_enabled: Whether that row is to receive anything.
        secret_names: The environment variables that hold that row's own secrets.
        claimed_at: When this attempt began, by the clock of Postgres.
    """

    id: int
    event_id: str
    event: str
    receiver: str
    payload: dict[str, Any]
    attempts: int
    max_attempts: int
    is_registered: bool
    url: str | None = field(repr=False)
    is_enabled: bool | None
    secret_names: Sequence[str] | None
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of one attempt.

    Attributes:
        error: Why it was not delivered, in a few words without a secret; None where it was.
        status: The HTTP status that the receiver answered, if it did.
        is_final: Whether no further attempt is of use.
    """

    error: str | None = None
    status: int | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Undelivered:
    """One alert that a receiver has not got: it is tried again at `next_attempt_at`, or never."""

    id: str
    event: str
    table_name: str | None
    receiver: str
    status: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime | None
    response_status: int | None
    last_error: str | None

    def __str__(self) -> str:
        """Write all of it in one line."""
        due = self.next_attempt_at
        next_attempt = f"tried again at {due:%Y-%m-%d %H:%M:%S} UTC" if due else "given up"
        return (
            f"{utc_minute(self.created_at)} {self.event} of {self.table_name} to "
            f"{self.receiver}: {self.last_error or 'not sent yet'} (attempts: {self.attempts}), "
            f"{next_attempt}"
        )


def enqueue(session: Session, alert: Alert) -> None:
    """Write an alert for each receiver that subscribes to its event and did not get it before.

    A cause that several tables have in common is one alert: it names also those that come later, as
    long as it was not sent.

    Args:
        session: A session in the transaction that records what the alert reports.
        alert: The alert.
    """
    params = _params_of(alert, Settings.read())
    session.execute(_ENQUEUE, params)
    if alert.shared:
        session.execute(_JOIN, params)


def _params_of(alert: Alert, settings: Settings) -> dict[str, Any]:
    subscribed = alert.event in settings.alert_events
    return {
        "schema": SCHEMA,
        "table": alert.table,
        "weeks": list(alert.weeks),
        "event_id": f"alert_{uuid.uuid4().hex}",
        "cause": alert.key,
        "alike": alert.alike and f"{alert.event} {alert.alike}",
        "audit_log_id": alert.audit_log_id,
        "event": alert.event.value,
        "by_name_only": alert.event in BY_NAME_ONLY,
        "payload": Jsonb(payload_of(alert, settings)),
        "receivers": list(settings.receivers) if subscribed else [],
    }


def payload_of(alert: Alert, settings: Settings) -> dict[str, Any]:
    """Return what a webhook receives as its body.

    Args:
        alert: The alert.
        settings: Which dataset the tables are filled from, and where the Dagster UI is.
    """
    return {
        **alert.payload,
        "tables": [alert.table],
        "weeks": list(alert.weeks),
        "command": alert.command,
        "run_url": settings.run_url(alert.run_id),
        "dataset": settings.BIGQUERY_DATASET,
        **alert.details,
    }


def retract(session: Session, event: Event, table: str, audit_log_id: int) -> None:
    """Take back an alert of a run and table that was not sent yet, as something else is so.

    Args:
        session: A session in a transaction.
        event: Its event.
        table: The table, alone in it.
        audit_log_id: The run.
    """
    params = {"event": event.value, "table": table, "audit_log_id": audit_log_id}
    session.execute(_RETRACT, params)


def claim(session: Session, resting: Collection[str] = ()) -> Delivery | None:
    """Lock the delivery that is due for longest, until the transaction ends; None if none is due.

    Args:
        session: A session in a transaction.
        resting: Names of receivers that are left alone for now.
    """
    params = {"max_attempts": MAX_ATTEMPTS, "resting": list(resting)}
    return next(iter(session.fetch_all(_CLAIM, params, row_factory=class_row(Delivery))), None)


def settle(session: Session, delivery: Delivery, result: DeliveryResult) -> str:
    """Record the result of an attempt, in the transaction that claimed it; return the status."""
    status = _status_after(delivery, result)
    pause_s = PAUSES_S[min(delivery.attempts, len(PAUSES_S) - 1)]
    params = {
        "id": delivery.id,
        "status": status,
        "is_delivered": status == "delivered",
        "response_status": result.status,
        "error": result.error,
        "pause_s": pause_s * random.uniform(1, 1 + _JITTER),
    }
    session.execute(_SETTLE, params)
    return status


def _status_after(delivery: Delivery, result: DeliveryResult) -> str:
    if result.error is None:
        return "delivered"
    is_last = result.is_final or delivery.attempts + 1 >= delivery.max_attempts
    return "exhausted" if is_last else "pending"


def list_undelivered(session: Session) -> list[Undelivered]:
    """List the alerts that were not delivered, the oldest first."""
    return session.fetch_all(_UNDELIVERED, row_factory=class_row(Undelivered))


def retry_undelivered(session: Session) -> int:
    """Make every alert that was not delivered due now; return how many there are.

    One that was given up gets all its attempts again.
    """
    return session.execute(_RETRY)
