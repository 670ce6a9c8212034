"""Check that the service account may do what a refresh does; reads no row and is not billed."""

from contextlib import closing

from sqp_refresh.extract.bigquery_table import BigQueryTable, describe
from sqp_refresh.extract.client import rest_client, start_query, storage_client, translated_errors
from sqp_refresh.extract.sql import count_query
from sqp_refresh.extract.storage_read import open_session
from sqp_refresh.model.tables import SQP_REPORT
from sqp_refresh.settings import Settings


def check_columns(settings: Settings) -> str:
    """Return a message that the vendor's table or view has every column that is needed.

    Raises:
        RefreshError: it cannot be seen, or lacks a column.
    """
    source = _describe_source(settings)
    kind = "table" if source.is_table else "view"
    return f"{source.name} has every column that is needed, as a {kind}"


def check_query(settings: Settings) -> str:
    """Return a message that a query may run, by a dry run of one that counts the rows.

    Raises:
        AccessDenied: no query may run.
        RefreshError: BigQuery cannot be reached, or refuses the query.
    """
    from google.cloud.bigquery import QueryJobConfig

    name = settings.source_table
    with translated_errors(name), closing(rest_client(settings)) as client:
        job = start_query(client, count_query(name), QueryJobConfig(dry_run=True))
        return f"a query may run, which would read {job.total_bytes_processed or 0:,} bytes"


def check_storage_read(settings: Settings) -> str:
    """Return a message that a read session may be opened; one that asks for no row costs nothing.

    Raises:
        AccessDenied: none may be opened.
        RefreshError: BigQuery cannot be reached.
    """
    if not _describe_source(settings).is_table:
        return "it is a view, which is read by queries"
    client = storage_client(settings)
    try:
        session = open_session(client, settings.source_table)
    finally:
        client.transport.close()
    return f"a read session may be opened, in {session.data_format.name.capitalize()}"


def _describe_source(settings: Settings) -> BigQueryTable:
    name = settings.source_table
    with translated_errors(name), closing(rest_client(settings)) as client:
        return describe(client, name, SQP_REPORT)
