"""`sqp.webhook_deliveries`: the alerts that are to be sent, one row for each receiver.

An alert is written in the transaction of what it tells of, so neither is there without the other.
Whoever sends it holds its row meanwhile: two at once never send the same one, and one whose sender
died is sent again under the same id.
"""

import json
import random
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from psycopg import sql

from sqp_refresh.model.events import Event
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import Settings

MAX_ATTEMPTS = 8
"""Attempts at a receiver that a switch names; one in `sqp.webhook_configs` has its own number."""

PAUSES_S = (5, 30, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
"""How long after each failed attempt the next one is due; the last pause is that of all others."""

_JITTER = 0.2
"""Up to this much of a pause is added to it, so that what failed together is not tried together."""

_PUT = sql.SQL("""
INSERT INTO sqp.webhook_deliveries
    (event_id, cause, webhook_config_id, receiver, audit_log_id, event, payload)
SELECT {event_id}, {cause}, listener.id, listener.name, {audit_id}, {event}, {payload}::jsonb
FROM (
    SELECT id, name FROM sqp.webhook_configs
    WHERE is_enabled AND (events IS NULL OR {event} = ANY(events))
    UNION ALL
    SELECT NULL, unnest({switched}::text[])
) AS listener
ON CONFLICT DO NOTHING
""")
_CLAIM = sql.SQL("""
SELECT delivery.id, event_id, delivery.event, receiver, payload::text, attempts,
    coalesce(max_attempts, {max_attempts}), webhook_config_id IS NOT NULL, url, is_enabled
FROM sqp.webhook_deliveries AS delivery
LEFT JOIN sqp.webhook_configs AS config ON config.id = webhook_config_id
WHERE status = 'pending' AND next_retry_at <= now() AND NOT receiver = ANY({resting}::text[])
ORDER BY next_retry_at, delivery.id
LIMIT 1
FOR UPDATE OF delivery SKIP LOCKED
""")
_SETTLE = sql.SQL("""
UPDATE sqp.webhook_deliveries
SET status = {status}, attempts = attempts + 1, response_status = {answered}, last_error = {error},
    next_retry_at = clock_timestamp() + make_interval(secs => {pause}),
    delivered_at = CASE {status} WHEN 'delivered' THEN clock_timestamp() END
WHERE id = {id}
""")
_UNSETTLED = sql.SQL("""
SELECT event_id, event, payload->>'table_name', receiver, status, attempts, created_at,
    CASE status WHEN 'pending' THEN next_retry_at END, response_status, last_error
FROM sqp.webhook_deliveries WHERE status <> 'delivered' ORDER BY id
""")


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that receivers are told of.

    Attributes:
        event: What has happened.
        table: The table that it has happened to.
        message: What there is to say of it, in one line; None where the event says it all.
        about: What sets it apart from other such events of the table: it is told of once.
        at: When it happened.
        audit_id: The run that it is about, by its row in the audit log.
        run_id: The same run, by its id.
    """

    event: Event
    table: str
    message: str | None
    about: str
    at: datetime
    audit_id: int | None = None
    run_id: str | None = None

    @property
    def payload(self) -> dict[str, Any]:
        """What a webhook receives as its body."""
        return {
            "event": self.event,
            "severity": self.event.severity,
            "table_name": self.table,
            "error_message": self.message,
            "audit_log_id": self.audit_id,
            "run_id": self.run_id,
            "occurred_at": self.at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class Delivery:
    """One alert on its way to one receiver.

    Attributes:
        event_id: The alert's id, the same in every attempt.
        receiver: The receiver's name.
        payload: The alert as JSON.
        attempts: How many were made before.
        max_attempts: How many are made in all.
        is_registered: Whether the receiver is a row of `sqp.webhook_configs`, not a switch.
        url: That row's address.
        is_enabled: Whether that row is to receive anything.
    """

    id: int
    event_id: str
    event: str
    receiver: str
    payload: str
    attempts: int
    max_attempts: int
    is_registered: bool
    url: str | None = field(repr=False)
    is_enabled: bool | None


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What came of one attempt.

    Attributes:
        error: Why it was not delivered, in a few words without a secret; None where it was.
        status: The HTTP status that the receiver answered, if it did.
        is_final: Whether it wants to hear no more.
    """

    error: str | None = None
    status: int | None = None
    is_final: bool = False


@dataclass(frozen=True, slots=True)
class Unsettled:
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
        """All of it in one line."""
        due = self.next_attempt_at
        again = f"tried again at {due:%Y-%m-%d %H:%M:%S} UTC" if due else "given up"
        return (
            f"{self.created_at:%Y-%m-%d %H:%M} UTC {self.event} of {self.table_name} to "
            f"{self.receiver}: {self.last_error or 'not sent yet'} (attempts: {self.attempts}), "
            f"{again}"
        )


def put(session: Session, alert: Alert) -> None:
    """Write an alert down for each receiver that listens to it and was not told of it yet."""
    settings = Settings.read()
    listening = alert.event in settings.alert_events
    session.run(
        _PUT.format(
            event_id=sql.Literal(f"alert_{uuid.uuid4().hex}"),
            cause=sql.Literal(f"{alert.event} {alert.table} {alert.about}"),
            audit_id=sql.Literal(alert.audit_id),
            event=sql.Literal(alert.event.value),
            payload=sql.Literal(json.dumps(alert.payload)),
            switched=sql.Literal(list(settings.receivers) if listening else []),
        )
    )


def claim(session: Session, resting: Collection[str] = ()) -> Delivery | None:
    """The alert that is due for longest, held until the transaction ends; None where none is.

    Args:
        session: A session in a transaction.
        resting: Names of receivers that are left alone for now.
    """
    found = session.rows(
        _CLAIM.format(max_attempts=sql.Literal(MAX_ATTEMPTS), resting=sql.Literal(list(resting)))
    )
    return Delivery(*found[0]) if found else None


def settle(session: Session, delivery: Delivery, answer: DeliveryResult) -> str:
    """Note what came of an attempt, in the transaction that claimed it; returns the status."""
    status = _status(delivery, answer)
    pause = PAUSES_S[min(delivery.attempts, len(PAUSES_S) - 1)]
    session.run(
        _SETTLE.format(
            id=sql.Literal(delivery.id),
            status=sql.Literal(status),
            answered=sql.Literal(answer.status),
            error=sql.Literal(answer.error),
            pause=sql.Literal(pause * random.uniform(1, 1 + _JITTER)),
        )
    )
    return status


def _status(delivery: Delivery, answer: DeliveryResult) -> str:
    if answer.error is None:
        return "delivered"
    is_last = answer.is_final or delivery.attempts + 1 >= delivery.max_attempts
    return "exhausted" if is_last else "pending"


def unsettled(session: Session) -> list[Unsettled]:
    """The alerts that were not delivered, the oldest first."""
    return [Unsettled(*found) for found in session.rows(_UNSETTLED)]
