"""A table's rows out of BigQuery, week by week, by the protocol that fits.

    a table, row by row      Storage Read, one session a week
    a view, or an aggregate  one query over all weeks, whose result table is read the same way

There is no fallback from one to the other; what was used is in the facts.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from sqp_refresh.extract import emulator
from sqp_refresh.extract.aggregate_result import Excerpt, conform_result
from sqp_refresh.extract.bigquery_table import BigQueryTable, describe
from sqp_refresh.extract.casts import quoted
from sqp_refresh.extract.client import (
    call_deadline,
    rest_client,
    storage_client,
    translated_errors,
)
from sqp_refresh.extract.jobs import ask_result, bytes_read
from sqp_refresh.extract.query_cache import Question
from sqp_refresh.extract.source_version import ask, state_of
from sqp_refresh.extract.split_weeks import by_week, in_batches_of
from sqp_refresh.extract.sql import WEEK, aggregate_query, rows_query
from sqp_refresh.extract.storage_read import open_session, session_batches, session_schema
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, ReadStats, SourceBatches, State
from sqp_refresh.model.tables import MARKETPLACE_TITLE, Origin, Table, aggregated_from
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, QueryJob
    from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient

T = TypeVar("T")


@dataclass(slots=True)
class BigQuerySource:
    """Feeds a table from BigQuery; nothing is connected to before it is asked for something.

    Attributes:
        settings: Where the source is, and how to get there.
        table: The table to feed.
        weeks: The weeks to read, in order; for a table without weeks, all time.
        instant: When to read the source as of; None is when it is first asked.
        batch_size: Rows per Arrow batch; None is what the switch says.
        meanwhile: What there is to do whenever BigQuery is waited for.
    """

    settings: Settings
    table: Table
    weeks: Sequence[Period]
    instant: datetime | None = None
    batch_size: int | None = None
    meanwhile: Callable[[], None] = lambda: None
    stats: ReadStats = field(default_factory=ReadStats)
    _source: BigQueryTable | None = None

    @property
    def name(self) -> str:
        """The source as project.dataset.table."""
        named = self.table.source.name if self.table.source else None
        return self.settings.source_named(named) if named else self.settings.source_table

    @property
    def read_with(self) -> Sequence[str]:
        """The other tables that the same query feeds, which is run once for all of them.

        Baseline once something of the source was asked for.
        """
        if self._source is None or not self._is_aggregate:
            return ()
        return [one.name for one in self._fed_by(self._source) if one.name != self.table.name]

    def periods(self, session: Session) -> Sequence[Period]:
        """The weeks, whether the source has rows of them or not."""
        return self.weeks

    def query_ahead(self) -> None:
        """Have BigQuery begin to count what all weeks hold, which `states` waits for.

        Not of a view: it is read as it is at the moment, and nobody could use an older answer.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        source = self._looked_up()
        if source.is_table:
            ask(self.settings, source, tuple(self.weeks))

    def states(self, session: Session, periods: Sequence[Period]) -> Mapping[Period, State]:
        """Counts, sums and a fingerprint of each week, by one query for all of them.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        if not periods:
            return {}
        states = self._answer(ask(self.settings, self._looked_up(), tuple(periods)))
        self.stats.undated = states.undated
        marketplace = self.settings.SQP_MARKETPLACE
        return {week: state_of(self.table, week, states, marketplace) for week in periods}

    def parts(self, periods: Sequence[Period]) -> Generator[PeriodRows]:
        """One part a week, in order, a week without rows too.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        if not periods:
            return
        with self._client() as client:
            source = self._described(client)
            if self._is_aggregate or not source.is_table:
                yield from self._read_result(client, source, periods)
            else:
                yield from self._read_table(source, periods)

    def bytes_to_read(self, periods: Sequence[Period]) -> int:
        """The bytes that reading these weeks would bill, by a dry run.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        with self._client() as client:
            source = self._described(client)
            return bytes_read(client, self.settings, self._query(source), source, periods)

    @property
    def _is_aggregate(self) -> bool:
        return self.table.origin is Origin.SOURCE_AGGREGATE

    def _fed_by(self, source: BigQueryTable) -> Sequence[Table]:
        """The tables that one query over the source feeds; each asks a view for itself."""
        return aggregated_from(source.spec) if source.is_table else [self.table]

    def _answer(self, question: Question[T]) -> T:
        """What was asked, once it is answered; and what that has cost, if nobody else has it."""
        if not question.is_answered:
            self.meanwhile()
        answer, billed = question.answer(), question.bill()
        if billed is not None:
            self.stats.bill(billed)
        return answer

    @contextmanager
    def _client(self) -> "Iterator[Client]":
        with translated_errors(self.name), closing(rest_client(self.settings)) as client:
            yield client

    def _looked_up(self) -> BigQueryTable:
        with self._client() as client:
            return self._described(client)

    def _described(self, client: "Client") -> BigQueryTable:
        assert self.table.source, "a table derived in Postgres is not read from BigQuery"
        if self._source is None:
            self._source = describe(client, self.name, self.table.source, self.instant)
            self.stats.schema = self._source.schema
        return self._source

    def _read_table(self, source: BigQueryTable, weeks: Sequence[Period]) -> Iterator[PeriodRows]:
        self.stats.method = "Storage Read"
        # Empty means all: see `emulator` for why columns are not selected there.
        columns = () if emulator.is_emulated(self.settings) else tuple(source.types)
        with self._storage() as client:
            for week in weeks:
                restriction = _in_week(source, week)
                opened = open_session(
                    client,
                    source.name,
                    restriction=restriction,
                    columns=columns,
                    instant=source.instant,
                )
                yield self._part(week, session_schema(opened), session_batches(client, opened))

    def _read_result(
        self, client: "Client", source: BigQueryTable, weeks: Sequence[Period]
    ) -> Iterator[PeriodRows]:
        query, purpose = self._query(source), "aggregates" if self._is_aggregate else "rows"
        excerpt = Excerpt.for_table(self.table) if self._is_aggregate else Excerpt()
        done = self._answer(ask_result(self.settings, query, source, weeks, purpose=purpose))
        self.stats.job_id = done.job_id
        with self._result(done.found(client), excerpt) as (schema, batches):
            without_week = schema.remove(schema.get_field_index(WEEK))
            for week, rows in by_week(batches, weeks):
                yield self._part(week, without_week, rows)

    def _query(self, source: BigQueryTable) -> str:
        if self._is_aggregate:
            return aggregate_query(source, self._fed_by(source))
        return rows_query(source)

    def _part(
        self, week: Period, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
    ) -> PeriodRows:
        sized = in_batches_of(self.batch_size or self.settings.REFRESH_BATCH_SIZE, batches)
        if self._is_aggregate:
            return PeriodRows(week, conform_result(self.table, schema, sized))
        constants = {MARKETPLACE_TITLE: self.settings.SQP_MARKETPLACE}
        return PeriodRows(week, SourceBatches(schema, sized, constants))

    @contextmanager
    def _result(
        self, job: "QueryJob", excerpt: Excerpt
    ) -> Iterator[tuple[pa.Schema, Iterable[pa.RecordBatch]]]:
        if emulator.is_emulated(self.settings):
            self.stats.method = "query, result over REST"
            result = excerpt.of(emulator.result_over_rest(job.result(**call_deadline())))
            yield result.schema, result.to_batches()
            return
        self.stats.method = "query, result by Storage Read"
        with self._storage() as client:
            opened = open_session(
                client,
                str(job.destination),
                restriction=excerpt.restriction,
                columns=excerpt.columns,
            )
            yield session_schema(opened), session_batches(client, opened)

    @contextmanager
    def _storage(self) -> "Iterator[BigQueryReadClient]":
        client = storage_client(self.settings)
        try:
            yield client
        finally:
            client.transport.close()


def _in_week(source: BigQueryTable, week: Period) -> str:
    """A filter for one week; Storage Read takes no parameters, and dates need no quoting."""
    title = source.spec.week_title
    if title is None:
        return ""
    kind, date = source.types[title], quoted(title)
    after = week.end + timedelta(days=1)
    return f"{date} >= {kind} '{week.start}' AND {date} < {kind} '{after}'"
