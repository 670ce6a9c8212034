"""Check that the service account may do what a refresh does; reads no row and is not billed."""

from contextlib import closing

from sqp_refresh.errors import RefreshError
from sqp_refresh.extract.bigquery_table import BigQueryTable, describe
from sqp_refresh.extract.client import (
    rest_client,
    start_query,
    storage_client,
    subject_of,
    translated_errors,
)
from sqp_refresh.extract.sql import count_query, week_restriction
from sqp_refresh.extract.storage_read import open_session
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SCHEMA, SQP_REPORT, Table
from sqp_refresh.monitoring.doctor.postgres_checks import SET_CLOCK, SKEW_S
from sqp_refresh.settings import Settings


def check_columns(settings: Settings) -> str:
    """Return a message that the vendor's table or view has every column that is needed.

    Raises:
        RefreshError: it cannot be seen, or lacks a column.
    """
    source = _describe_source(settings)
    kind = "table" if source.is_table else "view"
    subject = subject_of(source.name, settings.job_project)
    return f"{subject} has every column that is needed, as a {kind}"


def check_registered_source(settings: Settings, table: Table) -> str:
    """Return a message that the source of a registered table has every column that is needed.

    Raises:
        RefreshError: it cannot be seen, or lacks a column; the message names the table.
    """
    assert table.source and table.source.name, "it is filled from a table that somebody named"
    name = settings.source_named(table.source.name)
    try:
        with translated_errors(name), closing(rest_client(settings)) as client:
            describe(client, name, table.source)
    except RefreshError as error:
        raise type(error)(f"{SCHEMA}.{table.name}: {error}", **error.details) from None
    return f"{name} has every column that {SCHEMA}.{table.name} needs"


def check_query(settings: Settings) -> str:
    """Return a message that a query may run, by a dry run of one that counts the rows of a week.

    Raises:
        AccessDenied: no query may run.
        RefreshError: BigQuery cannot be reached, or refuses the query.
    """
    from google.cloud.bigquery import QueryJobConfig

    source = _describe_source(settings)
    query = count_query(source.name, _any_week(source))
    subject = subject_of(source.name, settings.job_project)
    with translated_errors(subject), closing(rest_client(settings)) as client:
        job = start_query(client, query, QueryJobConfig(dry_run=True))
        return (
            f"a query may run, which would read {job.total_bytes_processed or 0:,} bytes of a week"
        )


def check_storage_read(settings: Settings) -> str:
    """Return a message that a read session may be opened; one that asks for no row costs nothing.

    Raises:
        AccessDenied: none may be opened.
        RefreshError: BigQuery cannot be reached.
    """
    source = _describe_source(settings)
    if not source.is_table:
        return "it is a view, which is read by queries"
    client = storage_client(settings)
    try:
        session = open_session(
            client,
            source.name,
            restriction=_any_week(source),
            job_project=settings.job_project,
        )
    finally:
        client.transport.close()
    return f"a read session may be opened, in {session.data_format.name.capitalize()}"


def _any_week(source: BigQueryTable) -> str:
    """Return the filter for the rows of one week: a table may be set not to be read without one."""
    assert source.looked_up, "it was looked up just now"
    return week_restriction(source, Period.week_of(source.looked_up.now.date()))


def check_clock(settings: Settings) -> str:
    """Return a message that this machine and BigQuery agree on the time.

    Raises:
        RefreshError: they are too far apart, or BigQuery cannot be asked.
    """
    time = _describe_source(settings).looked_up
    ahead_s = (-time.ahead).total_seconds() if time else 0.0
    message = (
        f"the clock of BigQuery is {ahead_s:+.0f} s from this machine's, {SKEW_S} s are allowed"
    )
    if abs(ahead_s) > SKEW_S:
        raise RefreshError(f"{message}; {SET_CLOCK}")
    return message


def _describe_source(settings: Settings) -> BigQueryTable:
    name = settings.source_table
    with translated_errors(name), closing(rest_client(settings)) as client:
        return describe(client, name, SQP_REPORT)
