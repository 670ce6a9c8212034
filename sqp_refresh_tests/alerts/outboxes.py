"""Let refreshes end as a test wants them to, and read what the outbox then holds."""

from typing import Any

from sqp_refresh.alerts.delivery import Attempt, deliver_due
from sqp_refresh.control import audit_log
from sqp_refresh.errors import Unavailable
from sqp_refresh.model.tables import DAILY_SQP_DATA, Table
from sqp_refresh.postgres.session import connect
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.database import execute, rows

TABLE = DAILY_SQP_DATA.name
SUCCESS = {"status": "success", "error_message": None}


class Outbox:
    """A database whose audit log a test writes, and whose outbox it reads."""

    def __init__(self, url: str) -> None:
        self.url = url

    def subscribe(
        self, name: str, url: str, events: str = "NULL", max_attempts: int = 8, enabled: bool = True
    ) -> None:
        execute(
            self.url,
            "INSERT INTO sqp.webhook_configs (name, url, events, max_attempts, is_enabled)"
            f" VALUES ('{name}', '{url}', {events}, {max_attempts}, {enabled})",
        )

    def fail(self, run_id: str = "r", root: str | None = None, error: Exception | None = None):
        return self.end(
            run_id, audit_log.describe_failure(error or Unavailable("BigQuery is away")), root
        )

    def succeed(self, run_id: str = "s", **outcome: Any) -> int:
        return self.end(run_id, SUCCESS | outcome)

    def end(
        self,
        run_id: str,
        outcome: dict[str, Any],
        root: str | None = None,
        table: Table = DAILY_SQP_DATA,
        **metadata: Any,
    ) -> int:
        with connect(self.url) as session, session.transaction():
            audit_log_id = audit_log.begin(session, table, {"run_id": run_id, "root_run_id": root})
            audit_log.close(session, audit_log_id, outcome, metadata)
        return audit_log_id

    def deliver(self) -> list[Attempt]:
        with connect(self.url) as session:
            return list(deliver_due(session, Settings.read()))

    def make_due(self) -> None:
        execute(self.url, "UPDATE sqp.webhook_deliveries SET next_retry_at = now()")

    def events(self, receiver: str = "REFRESH_WEBHOOK_URL") -> list[str]:
        query = "SELECT event FROM sqp.webhook_deliveries WHERE receiver = '{}' ORDER BY id"
        return [event for (event,) in rows(self.url, query.format(receiver))]

    def deliveries(self, columns: str = "status, attempts, response_status, last_error"):
        return rows(self.url, f"SELECT {columns} FROM sqp.webhook_deliveries ORDER BY id")
