"""Find who receives alerts: rows of `sqp.webhook_configs`, and what the settings name."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from sqp_refresh.alerts.outbox import Delivery, DeliveryResult
from sqp_refresh.errors import SettingsError
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import WEBHOOK, Settings, read_secret

_REGISTERED = in_schema("""
SELECT name, url, secret_names FROM sqp.webhook_configs WHERE is_enabled ORDER BY name
""")


@dataclass(frozen=True, slots=True)
class Receiver:
    """One receiver of alerts.

    Attributes:
        name: What it is called wherever it is shown; its address may hold a secret.
        url: Its address.
        is_webhook: Whether that is posted to, and not an address of Apprise's.
        secret_names: The environment variables that hold its own secrets; none is those of the
            settings.
    """

    name: str
    url: SecretStr
    is_webhook: bool
    secret_names: Sequence[str] = ()

    def secrets(self, settings: Settings) -> Sequence[SecretStr]:
        """Read the secrets that sign what it receives.

        Raises:
            SettingsError: a variable that it names is not set, or malformed.
        """
        if self.secret_names:
            return [read_secret(name) for name in self.secret_names]
        return settings.signing_secrets

    def send(
        self, settings: Settings, event_id: str, payload: dict[str, Any], at: datetime
    ) -> DeliveryResult:
        """Make one attempt to send it an alert.

        Args:
            settings: How to sign, and where a webhook may go.
            event_id: The alert's id, the same in every attempt.
            payload: The alert, as a webhook receives it.
            at: When the attempt is made, by the clock of Postgres.
        """
        url = self.url.get_secret_value()
        try:
            # Imported here, because an HTTP client takes a while to import.
            if self.is_webhook:
                from sqp_refresh.alerts.webhook import post

                return post(settings, url, event_id, payload, at, self.secrets(settings))
            from sqp_refresh.alerts.notification import notify

            return notify(url, payload)
        except SettingsError as error:
            return DeliveryResult(str(error))
        except Exception as error:  # One address that nobody foresaw must not hold up the others.
            return DeliveryResult(f"could not be sent to ({type(error).__name__})")


def find_receiver(settings: Settings, delivery: Delivery) -> Receiver | None:
    """Return who is to receive an alert; None where that is disabled or no longer there."""
    if delivery.is_registered:
        if delivery.is_enabled and delivery.url:
            names = delivery.secret_names or ()
            return Receiver(delivery.receiver, SecretStr(delivery.url), True, names)
        return None
    receivers = {receiver.name: receiver for receiver in _from_settings(settings)}
    return receivers.get(delivery.receiver)


def list_receivers(session: Session, settings: Settings) -> list[Receiver]:
    """List everybody who receives alerts now."""
    registered = [
        Receiver(name, SecretStr(url), is_webhook=True, secret_names=secret_names or ())
        for name, url, secret_names in session.fetch_all(_REGISTERED)
    ]
    return registered + _from_settings(settings)


def _from_settings(settings: Settings) -> list[Receiver]:
    return [Receiver(name, url, name == WEBHOOK) for name, url in settings.receivers.items()]
