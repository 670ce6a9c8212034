"""Who receives alerts: rows of `sqp.webhook_configs`, and what the switches name."""

from dataclasses import dataclass

from psycopg import sql
from pydantic import SecretStr

from sqp_refresh.alerts.outbox import Delivery, DeliveryResult
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import WEBHOOK, Settings

_REGISTERED = sql.SQL("SELECT name, url FROM sqp.webhook_configs WHERE is_enabled ORDER BY name")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Somebody who is told of what happens.

    Attributes:
        name: What it is called wherever it is shown; its address may hold a secret.
        url: Its address.
        is_webhook: Whether that is posted to, and not an address of Apprise's.
    """

    name: str
    url: SecretStr
    is_webhook: bool

    def send(self, settings: Settings, event_id: str, payload: str) -> DeliveryResult:
        """Make one attempt to tell it of an alert."""
        url = self.url.get_secret_value()
        try:
            if self.is_webhook:
                from sqp_refresh.alerts.webhook import post

                return post(settings, url, event_id, payload)
            from sqp_refresh.alerts.notification import notify

            return notify(url, payload)
        except Exception as error:  # One address that nobody foresaw must not hold up the others.
            return DeliveryResult(f"could not be sent to ({type(error).__name__})")


def receiver_of(settings: Settings, delivery: Delivery) -> Receiver | None:
    """Who is to receive an alert; None where it is switched off or no longer there."""
    if delivery.is_registered:
        is_on = delivery.is_enabled and delivery.url
        return Receiver(delivery.receiver, SecretStr(delivery.url or ""), True) if is_on else None
    return {one.name: one for one in _switched(settings)}.get(delivery.receiver)


def receivers(session: Session, settings: Settings) -> list[Receiver]:
    """Everybody who receives alerts now."""
    registered = session.rows(_REGISTERED)
    return [Receiver(name, SecretStr(url), True) for name, url in registered] + _switched(settings)


def _switched(settings: Settings) -> list[Receiver]:
    return [Receiver(name, url, name == WEBHOOK) for name, url in settings.receivers.items()]
