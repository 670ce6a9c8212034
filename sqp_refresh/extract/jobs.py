"""Run one query job: its parameters, its limits, who shares its result, what it would read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.client import (
    QUERY_DEADLINE_S,
    call_deadline,
    rest_client,
    start_query,
    subject_of,
    translated_errors,
)
from sqp_refresh.extract.query_cache import PendingQuery, QueryResult, RunQueries
from sqp_refresh.extract.sql import query_parameters
from sqp_refresh.model.periods import Period
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, QueryJob, QueryJobConfig


@dataclass(frozen=True, slots=True)
class FinishedJob:
    """A query job that is done, and whose result can be read for a day.

    Attributes:
        job_id: Its id.
        location: Where it ran.
    """

    job_id: str
    location: str | None

    def fetch(self, client: "Client") -> "QueryJob":
        """Look up the job itself, by which its result is read."""
        job = client.get_job(self.job_id, location=self.location, **call_deadline())
        return cast("QueryJob", job)


def start_result_query(
    queries: RunQueries,
    settings: Settings,
    query: str,
    source: BigQueryTable,
    weeks: Sequence[Period],
    *,
    purpose: str,
) -> PendingQuery[FinishedJob]:
    """Begin to run a query, once for all tables of a run that its result has rows of.

    Args:
        queries: The queries of the run.
        settings: As for `run_query`, like all that follow.
        query: Its text.
        source: What it reads.
        weeks: The weeks that it reads.
        purpose: A label of the job.
    """

    def run() -> QueryResult[FinishedJob]:
        subject = subject_of(source.name, settings.job_project)
        with translated_errors(subject), rest_client(settings) as client:
            job = run_query(client, settings, query, source, weeks, purpose=purpose)
            assert job.job_id, "a job that was run has an id"
            finished = FinishedJob(job.job_id, job.location)
            return QueryResult(finished, job.total_bytes_billed or 0)

    key = ("result", settings, query, source, tuple(weeks)) if source.instant else None
    return queries.start(key, run)


def run_query(
    client: "Client",
    settings: Settings,
    query: str,
    source: BigQueryTable,
    weeks: Sequence[Period],
    *,
    purpose: str,
) -> "QueryJob":
    """Run a query over these weeks and wait until it is done.

    Args:
        client: Where to run it.
        settings: The marketplace of a source without one, and the limit of bytes billed.
        query: Its text, of `query` or `state`.
        source: What it reads.
        weeks: The weeks that it reads.
        purpose: A label of the job, by which its cost can be told from others'.
    """
    config = _configured(settings, source, weeks)
    config.labels = {"application": "sqp_refresh", "purpose": purpose}
    if settings.BIGQUERY_MAX_BYTES_BILLED:
        config.maximum_bytes_billed = settings.BIGQUERY_MAX_BYTES_BILLED
    job = start_query(client, query, config)
    job.result(max_results=0, timeout=QUERY_DEADLINE_S, retry=call_deadline()["retry"])
    return job


def bytes_read(
    client: "Client", settings: Settings, query: str, source: BigQueryTable, weeks: Sequence[Period]
) -> int:
    """Return the bytes that a query would read, by a dry run, which costs nothing."""
    config = _configured(settings, source, weeks)
    config.dry_run = True
    return start_query(client, query, config).total_bytes_processed or 0


def _configured(
    settings: Settings, source: BigQueryTable, weeks: Sequence[Period]
) -> "QueryJobConfig":
    from google.cloud.bigquery import QueryJobConfig

    # Without weeks there is nothing to bind: such a table is read whole.
    if source.spec.week_title is None:
        return QueryJobConfig()
    return QueryJobConfig(query_parameters=query_parameters(weeks, settings.SQP_MARKETPLACE))
