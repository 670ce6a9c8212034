"""Read the entries of refreshes in the audit log."""

from typing import Any

from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.database import rows


def audit(
    settings: Settings, table: str = "search_query_performance"
) -> tuple[str, str | None, Any, Any]:
    """Return status, message, details and metadata of a table's latest entry."""
    query = (
        "SELECT status, error_message, error_details, sync_metadata FROM sqp.refresh_audit_log"
        f" WHERE table_name = '{table}' ORDER BY id DESC LIMIT 1"
    )
    ((status, message, details, metadata),) = rows(settings.database_url, query)
    return status, message, details, metadata
