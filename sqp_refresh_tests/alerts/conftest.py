"""Provide a receiver that webhooks may reach, and an outbox to write alerts to."""

from collections.abc import Iterator

import pytest

from sqp_refresh_tests.alerts.outboxes import Outbox
from sqp_refresh_tests.alerts.receiver import Receiver, receiving


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Start a receiver on loopback, and allow webhooks to go there."""
    monkeypatch.setenv("REFRESH_WEBHOOK_ALLOW_PRIVATE", "true")
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def outbox(migrated_database: str, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """Return the outbox of a database in which nothing has happened yet."""
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    return Outbox(migrated_database)
