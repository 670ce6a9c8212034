"""Sends what the outbox holds, one alert and one transaction at a time, and alerts of no cause."""

import json
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from sqp_refresh.alerts import outbox
from sqp_refresh.alerts.outbox import Alert, Delivery, DeliveryResult
from sqp_refresh.alerts.receivers import Receiver, receiver_of, receivers
from sqp_refresh.model.events import Event
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import Settings

BUDGET_S = 30
"""No delivery is begun later than this after the first; what is left is due next time."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery, what came of it, and the status that the delivery has now."""

    delivery: Delivery
    answer: DeliveryResult
    status: str

    def __str__(self) -> str:
        """What came of it, in words."""
        done = self.answer.error or "delivered"
        gone = "; it is given up" if self.status == "exhausted" else ""
        return f"{self.delivery.event} to {self.delivery.receiver}: {done}{gone}"


def deliver_due(session: Session, settings: Settings) -> Iterator[Attempt]:
    """Make one attempt at each alert that is due; a receiver that fails is left alone until later.

    Each is committed before the next is begun. Iterate over it, or nothing is sent.

    Args:
        session: A session in no transaction.
        settings: Where the receivers of the switches are, and how to sign.
    """
    began, resting = time.monotonic(), set[str]()
    while time.monotonic() - began < BUDGET_S:
        with session.transaction():
            delivery = outbox.claim(session, resting)
            if delivery is None:
                return
            answer = _sent(settings, delivery)
            status = outbox.settle(session, delivery, answer)
        if answer.error is not None:
            resting.add(delivery.receiver)
        yield Attempt(delivery, answer, status)


def _sent(settings: Settings, delivery: Delivery) -> DeliveryResult:
    receiver = receiver_of(settings, delivery)
    if receiver is None:
        return DeliveryResult("is disabled, or no longer there")
    return receiver.send(settings, delivery.event_id, delivery.payload)


def tested(session: Session, settings: Settings) -> Iterator[tuple[Receiver, DeliveryResult]]:
    """Send a test to every receiver now, past the outbox, and say what came of each."""
    alert = Alert(Event.TEST, "alerts", "this is a test; nothing is wrong", "", datetime.now(UTC))
    event_id, payload = f"alert_{uuid.uuid4().hex}", json.dumps(alert.payload)
    for receiver in receivers(session, settings):
        yield receiver, receiver.send(settings, event_id, payload)
