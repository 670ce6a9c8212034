"""A table's rows out of BigQuery, week by week, by the protocol that fits.

    a table, row by row      Storage Read, one session a week
    a view, or an aggregate  one query over all weeks, whose result table is read the same way

There is no fallback from one to the other; what was used is in the facts.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from sqp_refresh.extract import emulator
from sqp_refresh.extract.client import (
    QUERY_DEADLINE_S,
    call_deadline,
    rest_client,
    storage_client,
    translated_errors,
)
from sqp_refresh.extract.conform import RowShape, conform_result
from sqp_refresh.extract.query import (
    WEEK,
    aggregate_query,
    query_parameters,
    quoted,
    rows_query,
)
from sqp_refresh.extract.source import Source, describe
from sqp_refresh.extract.storage import open_session, session_batches, session_schema
from sqp_refresh.extract.weekly import by_week, in_batches_of
from sqp_refresh.parts import Facts, Part
from sqp_refresh.postgres import Session
from sqp_refresh.settings import Settings
from sqp_refresh.tables import DATE_TITLE, Origin, Table
from sqp_refresh.weeks import Period

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, QueryJob
    from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient


@dataclass(slots=True)
class BigQueryFeed:
    """Feeds a table from BigQuery; nothing is connected to before the first part is asked for.

    Attributes:
        settings: Where the source is, and how to get there.
        table: The table to feed.
        weeks: The weeks to read, in order.
    """

    settings: Settings
    table: Table
    weeks: Sequence[Period]
    facts: Facts = field(default_factory=Facts)

    def periods(self, session: Session) -> Sequence[Period]:
        """The weeks, whether the source has rows of them or not."""
        return self.weeks

    def parts(self, periods: Sequence[Period]) -> Generator[Part]:
        """One part a week, in order, a week without rows too.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        name = self.settings.source_table
        with translated_errors(name), closing(rest_client(self.settings)) as client:
            source = describe(client, name)
            if self.table.origin is Origin.SOURCE_ROWS and source.is_table:
                yield from self._read_table(source, periods)
            else:
                yield from self._read_result(client, source, periods)

    def _read_table(self, source: Source, weeks: Sequence[Period]) -> Iterator[Part]:
        self.facts.method = "Storage Read"
        shape = self._row_shape(source)
        # Empty means all: see `emulator` for why columns are not selected there.
        columns = () if emulator.is_emulated(self.settings) else tuple(source.types)
        with self._storage() as client:
            for week in weeks:
                restriction = _in_week(source, week)
                opened = open_session(client, source.name, restriction=restriction, columns=columns)
                batches = session_batches(client, opened)
                yield self._part(week, session_schema(opened), batches, shape)

    def _read_result(
        self, client: "Client", source: Source, weeks: Sequence[Period]
    ) -> Iterator[Part]:
        if self.table.origin is Origin.SOURCE_ROWS:
            query, shape = rows_query(source), self._row_shape(source)
        else:
            query, shape = aggregate_query(source, self.table), partial(conform_result, self.table)
        job = self._run(client, query, weeks)
        with self._result(job) as (schema, batches):
            without_week = schema.remove(schema.get_field_index(WEEK))
            for week, rows in by_week(batches, weeks):
                yield self._part(week, without_week, rows, shape)

    def _row_shape(self, source: Source) -> RowShape:
        return RowShape(source, self.table, self.settings.SQP_MARKETPLACE)

    def _part(
        self,
        week: Period,
        schema: pa.Schema,
        batches: Iterable[pa.RecordBatch],
        shape: Callable[[pa.RecordBatch], pa.RecordBatch],
    ) -> Part:
        empty = pa.RecordBatch.from_pylist([], schema)
        shaped = map(shape, in_batches_of(self.settings.REFRESH_BATCH_SIZE, batches))
        return Part(week, pa.RecordBatchReader.from_batches(shape(empty).schema, shaped))

    def _run(self, client: "Client", query: str, weeks: Sequence[Period]) -> "QueryJob":
        from google.cloud.bigquery import QueryJobConfig

        config = QueryJobConfig(
            query_parameters=query_parameters(weeks, self.settings.SQP_MARKETPLACE),
            labels={"application": "sqp_refresh", "table": self.table.name},
        )
        if self.settings.BIGQUERY_MAX_BYTES_BILLED:
            config.maximum_bytes_billed = self.settings.BIGQUERY_MAX_BYTES_BILLED
        job = client.query(query, job_config=config, **call_deadline())
        self.facts.job_id = job.job_id
        job.result(max_results=0, timeout=QUERY_DEADLINE_S, retry=call_deadline()["retry"])
        self.facts.bytes_billed = job.total_bytes_billed
        return job

    @contextmanager
    def _result(self, job: "QueryJob") -> Iterator[tuple[pa.Schema, Iterable[pa.RecordBatch]]]:
        if emulator.is_emulated(self.settings):
            self.facts.method = "query, result over REST"
            result = emulator.result_over_rest(job.result(**call_deadline()))
            yield result.schema, result.to_batches()
            return
        self.facts.method = "query, result by Storage Read"
        with self._storage() as client:
            opened = open_session(client, str(job.destination))
            yield session_schema(opened), session_batches(client, opened)

    @contextmanager
    def _storage(self) -> "Iterator[BigQueryReadClient]":
        client = storage_client(self.settings)
        try:
            yield client
        finally:
            client.transport.close()


def _in_week(source: Source, week: Period) -> str:
    """A filter for one week; Storage Read takes no parameters, and dates need no quoting."""
    kind, date = source.types[DATE_TITLE], quoted(DATE_TITLE)
    after = week.end + timedelta(days=1)
    return f"{date} >= {kind} '{week.start}' AND {date} < {kind} '{after}'"
