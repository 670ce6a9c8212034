"""Deliver what the outbox holds, one alert and one transaction at a time; send tests past it."""

import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

from sqp_refresh.alerts import outbox
from sqp_refresh.alerts.outbox import Alert, Delivery, DeliveryResult, payload_of
from sqp_refresh.alerts.receivers import Receiver, find_receiver, list_receivers
from sqp_refresh.model.events import Event
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import Settings

BUDGET_S = 30
"""No delivery is begun later than this after the first; what is left is due next time."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a delivery, its result, and the status that the delivery has now."""

    delivery: Delivery
    result: DeliveryResult
    status: str

    def __str__(self) -> str:
        """Write the result in words."""
        outcome = self.result.error or "delivered"
        suffix = "; it is given up" if self.status == "exhausted" else ""
        return f"{self.delivery.event} to {self.delivery.receiver}: {outcome}{suffix}"


def deliver_due(session: Session, settings: Settings) -> Iterator[Attempt]:
    """Make one attempt at each alert that is due; a receiver that fails is left alone until later.

    Each is committed before the next is begun. Iterate over it, or nothing is sent.

    Args:
        session: A session in no transaction.
        settings: Where the receivers of the settings are, and how to sign.
    """
    started, resting = time.monotonic(), set[str]()
    while time.monotonic() - started < BUDGET_S:
        with session.transaction():
            delivery = outbox.claim(session, resting)
            if delivery is None:
                return
            result = _send(settings, delivery)
            status = outbox.settle(session, delivery, result)
        if result.error is not None:
            resting.add(delivery.receiver)
        yield Attempt(delivery, result, status)


def _send(settings: Settings, delivery: Delivery) -> DeliveryResult:
    receiver = find_receiver(settings, delivery)
    if receiver is None:
        return DeliveryResult("is disabled, or no longer there")
    return receiver.send(settings, delivery.event_id, delivery.payload, delivery.claimed_at)


def send_test(session: Session, settings: Settings) -> Iterator[tuple[Receiver, DeliveryResult]]:
    """Send a test to every receiver now, past the outbox, and yield the result of each."""
    alert = Alert(Event.TEST, "alerts", "this is a test; nothing is wrong", "", session.now())
    event_id = f"alert_{uuid.uuid4().hex}"
    with session.transaction():
        receivers = list_receivers(session, settings)
    for receiver in receivers:
        yield receiver, receiver.send(settings, event_id, payload_of(alert, settings), alert.at)
