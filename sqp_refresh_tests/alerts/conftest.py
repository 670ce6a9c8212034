"""A receiver that webhooks may reach, and an outbox to put alerts into."""

from collections.abc import Iterator

import pytest

from sqp_refresh_tests.alerts.outboxes import Outbox
from sqp_refresh_tests.alerts.receiver import Receiver, receiving


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A receiver on loopback, where webhooks may go to for once."""
    monkeypatch.setenv("REFRESH_WEBHOOK_ALLOW_PRIVATE", "true")
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def outbox(migrated_database: str, monkeypatch: pytest.MonkeyPatch) -> Outbox:
    """The outbox of a database in which nothing has happened yet."""
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    return Outbox(migrated_database)
