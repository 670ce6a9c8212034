"""Tell what is otherwise here than by default: what a colleague needs who takes over."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from pydantic import SecretStr

from sqp_refresh.alerts import mutes
from sqp_refresh.alerts.mutes import Mute
from sqp_refresh.ledger.pins import Pin, list_pins
from sqp_refresh.model.tables import SCHEMA, TABLES
from sqp_refresh.model.text import utc_minute
from sqp_refresh.postgres.session import Session
from sqp_refresh.schema_name import in_schema
from sqp_refresh.settings import Settings

SECRET = "(secret)"
USUAL_HOURS = 24

# A table that was switched off before there was a trigger to note it was so at the latest when its
# row last changed.
_TABLES = in_schema("""
SELECT config.table_name AS table, config.is_enabled, refresh_frequency_hours AS frequency_hours,
    custom_sync_params AS parameters, switched_by,
    CASE WHEN config.is_enabled THEN NULL ELSE coalesce(switched_at, config.updated_at) END
        AS off_since
FROM sqp.refresh_config AS config
LEFT JOIN sqp.refresh_switches AS switch
    ON switch.table_schema = config.table_schema AND switch.table_name = config.table_name
    AND switch.is_enabled = config.is_enabled
WHERE config.table_schema = %(schema)s
ORDER BY priority DESC, config.table_name
""")
_RECEIVERS = in_schema("""
SELECT name, events, is_enabled, coalesce(secret_names, '{}') AS secret_names
FROM sqp.webhook_configs ORDER BY name
""")


@dataclass(frozen=True, slots=True)
class RegisteredTable:
    """What the registry says of a table.

    Attributes:
        table: Name of the table.
        is_enabled: Whether it is refreshed.
        frequency_hours: Hours between two refreshes.
        parameters: What it does differently.
        switched_by: Who switched it on or off; None where that is not known.
        off_since: When it was switched off; None where it is not.
    """

    table: str
    is_enabled: bool
    frequency_hours: int
    parameters: Mapping[str, Any]
    switched_by: str | None
    off_since: datetime | None

    @property
    def differences(self) -> list[str]:
        """Say what is otherwise than by default."""
        differences = [] if self.table in TABLES else ["registered by an operator"]
        if self.off_since:
            by = f" by {self.switched_by}" if self.switched_by else ""
            since = "since" if self.switched_by else "since this or earlier:"
            differences.append(f"switched off{by} {since} {utc_minute(self.off_since)}")
        if self.frequency_hours != USUAL_HOURS:
            differences.append(f"due every {self.frequency_hours} hours")
        return differences + [f"{name} = {value}" for name, value in self.parameters.items()]


@dataclass(frozen=True, slots=True)
class AlertReceiver:
    """Who receives alerts: a row of `sqp.webhook_configs`, or what a setting names.

    Attributes:
        name: What it is called; its address may hold a secret.
        events: The events it receives; None is all but those that have to be named.
        is_enabled: Whether it receives anything.
        secret_names: The environment variables of its own secrets.
    """

    name: str
    events: Sequence[str] | None
    is_enabled: bool
    secret_names: Sequence[str]

    def __str__(self) -> str:
        """Say what it receives."""
        if not self.is_enabled:
            return f"{self.name}: switched off"
        events = "all events" if self.events is None else ", ".join(self.events)
        secrets = f"; signed with {' and '.join(self.secret_names)}" if self.secret_names else ""
        return f"{self.name}: {events}{secrets}"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything that is otherwise than by default."""

    settings: Mapping[str, str]
    tables: Sequence[RegisteredTable]
    pins: Sequence[Pin]
    receivers: Sequence[AlertReceiver]
    mutes: Sequence[Mute]

    @property
    def sections(self) -> dict[str, list[str]]:
        """Say all of it in lines, by what they are about."""
        return {
            "settings that are not the default": [
                f"{name} = {value}" for name, value in self.settings.items()
            ],
            "tables": [
                f"{table.table}: {'; '.join(table.differences)}"
                for table in self.tables
                if table.differences
            ],
            "pinned weeks": [f"{pin.table} in {pin.period_start}: {pin}" for pin in self.pins],
            "receivers of alerts": list(map(str, self.receivers)),
            "muted alerts": list(map(str, self.mutes)),
        }

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "settings": dict(self.settings),
            "tables": [
                asdict(table) | {"differences": table.differences}
                for table in self.tables
                if table.differences
            ],
            "pins": [asdict(pin) for pin in self.pins],
            "receivers": [asdict(receiver) for receiver in self.receivers],
            "mutes": [mute.as_json() for mute in self.mutes],
        }


def explain(session: Session, settings: Settings) -> Explanation:
    """Read what is otherwise than by default; no secret is in it.

    Args:
        session: A session with the target.
        settings: The settings of this process.
    """
    events = sorted(settings.alert_events)
    named = [AlertReceiver(name, events, True, []) for name in settings.receivers]
    registered = session.fetch_all(_RECEIVERS, row_factory=class_row(AlertReceiver))
    return Explanation(
        changed_settings(settings),
        session.fetch_all(_TABLES, {"schema": SCHEMA}, row_factory=class_row(RegisteredTable)),
        list_pins(session),
        [*named, *registered],
        mutes.list_mutes(session),
    )


def changed_settings(settings: Settings) -> dict[str, str]:
    """Return the settings that are not the default, as text; of a secret, only that it is set."""
    changed = {
        name: getattr(settings, name)
        for name, field in Settings.model_fields.items()
        if getattr(settings, name) != field.default
    }
    return {
        name: SECRET if isinstance(value, SecretStr) else str(value)
        for name, value in changed.items()
    }
