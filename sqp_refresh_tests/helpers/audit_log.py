"""Read the entries of refreshes in the audit log."""

from typing import Any

from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.database import rows


def audit(
    settings: Settings, table: str = "search_query_performance"
) -> tuple[str, str | None, Any, Any]:
    """Return status, message, details and metadata of a table's latest entry."""
    return audit_of(settings.database_url, table)


def audit_of(url: str, table: str = "search_query_performance") -> tuple[str, str | None, Any, Any]:
    """Return the same, of a database."""
    query = (
        "SELECT status, error_message, error_details, sync_metadata FROM sqp.refresh_audit_log"
        f" WHERE table_name = '{table}' ORDER BY id DESC LIMIT 1"
    )
    ((status, message, details, metadata),) = rows(url, query)
    return status, message, details, metadata
