"""Whether the service account may do what a refresh does; nothing is read, and nothing billed."""

from contextlib import closing

from sqp_refresh.extract.bigquery_table import BigQueryTable, describe
from sqp_refresh.extract.client import rest_client, start_query, storage_client, translated_errors
from sqp_refresh.extract.sql import count_query
from sqp_refresh.extract.storage_read import open_session
from sqp_refresh.model.tables import SQP_REPORT
from sqp_refresh.settings import Settings


def source_of(settings: Settings) -> BigQueryTable:
    """The vendor's table or view, held against the columns that are needed.

    Raises:
        RefreshError: it cannot be seen, or lacks a column.
    """
    name = settings.source_table
    with translated_errors(name), closing(rest_client(settings)) as client:
        return describe(client, name, SQP_REPORT, None)


def may_query(settings: Settings, name: str) -> int:
    """The bytes that counting a table's rows would read, by a dry run.

    Raises:
        AccessDenied: no query may run.
        RefreshError: it cannot be asked.
    """
    from google.cloud.bigquery import QueryJobConfig

    with translated_errors(name), closing(rest_client(settings)) as client:
        job = start_query(client, count_query(name), QueryJobConfig(dry_run=True))
        return job.total_bytes_processed or 0


def may_read(settings: Settings, name: str) -> str:
    """That a read session may be opened, which costs nothing as long as no row is asked for.

    Raises:
        AccessDenied: none may be opened.
        RefreshError: it cannot be asked.
    """
    if not source_of(settings).is_table:
        return "it is a view, which is read by queries"
    client = storage_client(settings)
    try:
        session = open_session(client, name)
    finally:
        client.transport.close()
    return f"a read session may be opened, in {session.data_format.name.capitalize()}"
