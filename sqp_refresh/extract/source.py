"""Read a table's rows out of BigQuery, week by week, by the protocol that fits.

    a table, row by row      Storage Read, one session a week
    a view, or an aggregate  one query over all weeks, whose result table is read the same way

There is no fallback from one to the other; what was used is in the stats.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self, TypeVar

import pyarrow as pa

from sqp_refresh.errors import SettingsError, TooEarly
from sqp_refresh.extract import emulator
from sqp_refresh.extract.aggregate_result import Excerpt, conform_bad_rows, conform_result
from sqp_refresh.extract.aggregates.observation import SourceObservation
from sqp_refresh.extract.bigquery_table import BigQueryTable, describe
from sqp_refresh.extract.client import (
    ServerTime,
    call_deadline,
    rest_client,
    storage_client,
    subject_of,
    translated_errors,
)
from sqp_refresh.extract.jobs import bytes_read, start_result_query
from sqp_refresh.extract.query_cache import PendingQuery, RunQueries
from sqp_refresh.extract.source_version import (
    observation_of,
    start_state_query,
    version_of,
)
from sqp_refresh.extract.split_weeks import by_week, in_batches_of
from sqp_refresh.extract.sql import (
    WEEK,
    aggregate_query,
    bad_rows_query,
    rows_query,
    week_restriction,
)
from sqp_refresh.extract.storage_read import open_session, session_batches, session_schema
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, ReadStats, SourceBatches
from sqp_refresh.model.tables import MARKETPLACE_TITLE, Origin, Table, aggregated_from
from sqp_refresh.model.versions import SourceVersion, Version
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import Settings

if TYPE_CHECKING:
    from google.cloud.bigquery import Client, QueryJob
    from google.cloud.bigquery_storage_v1.services.big_query_read import BigQueryReadClient

T = TypeVar("T")

REMEMBERED = timedelta(days=7)
"""For how long BigQuery remembers how a table stood, unless its dataset says less."""


@dataclass(frozen=True, slots=True)
class WantedInstant:
    """An instant that somebody wants the source as of: it is read as it stood then, or not at all.

    Attributes:
        instant: The instant.
    """

    instant: datetime

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a person wrote.

        Raises:
            SettingsError: it is no instant, or has no time zone.
        """
        try:
            instant = datetime.fromisoformat(text.strip())
            if instant.tzinfo:
                return cls(instant.astimezone(UTC))
        except (ValueError, OverflowError):
            pass
        raise SettingsError(
            f"--source-as-of {text!r} is no instant with a time zone; write it like "
            "2026-08-16T02:00:00Z"
        )

    def by(self, time: ServerTime) -> datetime:
        """Return the instant, if BigQuery remembers it.

        Raises:
            SettingsError: it does not, or the instant has not come yet.
        """
        earliest = time.now - REMEMBERED
        if earliest < self.instant <= time.now:
            return self.instant
        fault = "has not come yet" if self.instant > time.now else "is too long ago"
        raise SettingsError(
            f"--source-as-of {self.instant.isoformat()} {fault}: BigQuery remembers the seven days "
            f"before now, {time.now.isoformat(timespec='seconds')}"
        )


AsOf = datetime | Callable[[ServerTime], datetime] | WantedInstant
"""An instant, what decides on one by BigQuery's own time, or one that somebody wants."""


@dataclass(slots=True)
class BigQuerySource:
    """The rows of a table in BigQuery; nothing is connected to before something is read.

    Attributes:
        settings: Where the source is, and how to get there.
        table: The table that the rows are for.
        weeks: The weeks to read, in order; for a table without weeks, all time.
        as_of: When to read the source as of; None is when a table of the run first asks for it.
        queries: The queries of the run, which its tables share.
        while_waiting: What there is to do whenever BigQuery is waited for.
        batch_size: Rows per Arrow batch; None is what the setting says.
        stats: How the rows were read.
        observation: What the source holds of these weeks, at the first table of a run that asks.
    """

    settings: Settings
    table: Table
    weeks: Sequence[Period]
    as_of: AsOf | None = None
    queries: RunQueries = field(default_factory=RunQueries)
    while_waiting: Callable[[], None] = lambda: None
    batch_size: int | None = None
    stats: ReadStats = field(default_factory=ReadStats)
    observation: SourceObservation | None = None
    _bigquery_table: BigQueryTable | None = None

    @property
    def name(self) -> str:
        """The source as project.dataset.table."""
        name = self.table.source.name if self.table.source else None
        return self.settings.source_named(name) if name else self.settings.source_table

    @property
    def wanted_instant(self) -> datetime | None:
        """The instant that somebody wants the source as of; None where nobody named one."""
        return self.as_of.instant if isinstance(self.as_of, WantedInstant) else None

    @property
    def shares_query_with(self) -> Sequence[str]:
        """The other tables whose rows the same query gives, which is run once for all of them.

        It is known once something of the source was asked for.
        """
        if self._bigquery_table is None or not self._is_aggregate:
            return ()
        tables = self._tables_of_query(self._bigquery_table)
        return [table.name for table in tables if table.name != self.table.name]

    @property
    def reads_week_by_week(self) -> bool:
        """Whether each week is read for itself, not all of them by one query.

        It is known once something of the source was asked for.
        """
        table = self._bigquery_table
        return table is not None and table.is_table and not self._is_aggregate

    def periods(self, session: Session) -> Sequence[Period]:
        """Return the weeks, whether the source has rows of them or not."""
        return self.weeks

    def prefetch_versions(self) -> None:
        """Have BigQuery begin to count what all weeks hold, which `versions` waits for.

        Not of a view: it is read as it is at the moment, so that an older result is of no use.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        bigquery_table = self._looked_up()
        if bigquery_table.is_table:
            start_state_query(self.queries, self.settings, bigquery_table, self.weeks)

    def versions(
        self, session: Session, periods: Sequence[Period]
    ) -> Mapping[Period, SourceVersion]:
        """Read counts, sums and a digest of each week, by one query for all of them.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        if not periods:
            return {}
        bigquery_table = self._looked_up()
        query = start_state_query(self.queries, self.settings, bigquery_table, periods)
        try:
            state = self._result_of(query)
        except TooEarly:
            if self.wanted_instant:
                raise SettingsError(
                    f"BigQuery does not remember {self.name} at {self.wanted_instant.isoformat()}: "
                    "it was made, or made anew, since, or its dataset remembers less; name a later "
                    "--source-as-of"
                ) from None
            # The next attempt looks the source up again, and reads it as it is then.
            self.as_of, self._bigquery_table = (lambda time: time.now), None
            raise
        self.stats.out_of_reach = state.out_of_reach
        if self.queries.is_first(("observed", self.name)):
            self.observation = observation_of(bigquery_table, state)
        marketplace = self.settings.SQP_MARKETPLACE
        return {week: version_of(self.table, week, state, marketplace) for week in periods}

    def observe(self) -> SourceObservation:
        """Look at what the source holds of these weeks.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        table = self._looked_up()
        query = start_state_query(self.queries, self.settings, table, self.weeks)
        return observation_of(table, self._result_of(query))

    def find_changed(self, session: Session, versions: Mapping[Period, Version]) -> list[Period]:
        """List the weeks that the source has changed since the instant that somebody wants.

        Args:
            session: As for `versions`.
            versions: What each week was made from then.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        now = replace(self, as_of=None, queries=RunQueries(), _bigquery_table=None)
        changed = now.versions(session, list(versions))
        return [week for week, version in versions.items() if changed[week] != version]

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        """Read the rows of each week, in order, of a week without rows too.

        Each week is used up before the next is asked for. Where all of them are read by one query,
        it asks for all of them first.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        with self._client() as client:
            bigquery_table = self._described(client)
            if not self.reads_week_by_week:
                yield from self._read_result(client, bigquery_table, list(periods))
            else:
                yield from self._read_table(bigquery_table, periods)

    def read_bad(self, weeks: Sequence[Period]) -> Generator[pa.RecordBatch]:
        """Read the rows of these weeks that break their contract, by our names and in our types.

        Beside the columns of the contract, a batch has the week of each row, and whether every
        value of it could be cast.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        with self._client() as client:
            table = self._described(client)
            query = start_result_query(
                self.queries,
                self.settings,
                bad_rows_query(table),
                table,
                weeks,
                purpose="bad rows",
            )
            finished = self._result_of(query)
            with self._result(finished.fetch(client), Excerpt()) as (_, batches):
                for batch in batches:
                    yield conform_bad_rows(table.spec, batch)

    def bytes_to_read(self, periods: Sequence[Period]) -> int:
        """Return the bytes that reading these weeks would bill, by a dry run.

        Raises:
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        with self._client() as client:
            table = self._described(client)
            return bytes_read(client, self.settings, self._query(table), table, periods)

    @property
    def _is_aggregate(self) -> bool:
        return self.table.origin is Origin.SOURCE_AGGREGATE

    def _tables_of_query(self, bigquery_table: BigQueryTable) -> Sequence[Table]:
        """List the tables whose rows one query gives; each queries a view for itself."""
        if bigquery_table.is_table:
            return aggregated_from(bigquery_table.spec)
        return [self.table]

    def _result_of(self, query: PendingQuery[T]) -> T:
        """Wait for a query, and note what it has cost, if no other table has done so."""
        if not query.is_done:
            self.while_waiting()
        result, billed = query.result(), query.bytes_billed()
        if billed is not None:
            self.stats.add_bytes_billed(billed)
        return result

    @contextmanager
    def _client(self) -> "Iterator[Client]":
        subject = subject_of(self.name, self.settings.job_project)
        with translated_errors(subject), closing(rest_client(self.settings)) as client:
            yield client

    def look_up(self) -> None:
        """Look up the source, and require that it can be read as it is wanted.

        Raises:
            SettingsError: it cannot be read as of the wanted instant.
            AccessDenied, NotFound, SchemaMismatch, Unavailable, DataError: see `errors`.
        """
        self._looked_up()

    def _looked_up(self) -> BigQueryTable:
        with self._client() as client:
            return self._described(client)

    def _described(self, client: "Client") -> BigQueryTable:
        assert self.table.source, "a table derived in Postgres is not read from BigQuery"
        if self._bigquery_table is None:
            described = describe(client, self.name, self.table.source, self._decide_as_of)
            if self.wanted_instant:
                described = _as_wanted(described, self.wanted_instant)
            self._bigquery_table = described
            self.stats.schema = described.schema
            self.stats.changed_at = described.changed_before_instant
        return self._bigquery_table

    def _decide_as_of(self, time: ServerTime) -> datetime:
        if isinstance(self.as_of, WantedInstant):
            return self.as_of.by(time)
        if isinstance(self.as_of, datetime):
            # Whoever set it may have had another clock; an instant to come is refused.
            return min(self.as_of, time.now)
        return self.as_of(time) if self.as_of else self.queries.decide_as_of(time.now)

    def _read_table(
        self, bigquery_table: BigQueryTable, weeks: Iterable[Period]
    ) -> Iterator[PeriodRows]:
        self.stats.method = "Storage Read"
        # Empty means all: see `emulator` for why columns are not selected there.
        is_emulated = emulator.is_emulated(self.settings)
        columns = () if is_emulated else tuple(bigquery_table.types)
        with self._storage() as client:
            for week in weeks:
                read_session = open_session(
                    client,
                    bigquery_table.name,
                    restriction=week_restriction(bigquery_table, week),
                    columns=columns,
                    instant=bigquery_table.instant,
                    job_project=self.settings.job_project,
                )
                yield self._rows(
                    week, session_schema(read_session), session_batches(client, read_session)
                )

    def _read_result(
        self, client: "Client", bigquery_table: BigQueryTable, weeks: Sequence[Period]
    ) -> Iterator[PeriodRows]:
        excerpt = Excerpt.for_table(self.table) if self._is_aggregate else Excerpt()
        query = start_result_query(
            self.queries,
            self.settings,
            self._query(bigquery_table),
            bigquery_table,
            weeks,
            purpose="aggregates" if self._is_aggregate else "rows",
        )
        finished = self._result_of(query)
        self.stats.job_id = finished.job_id
        with self._result(finished.fetch(client), excerpt) as (schema, batches):
            without_week = schema.remove(schema.get_field_index(WEEK))
            for week, rows in by_week(batches, weeks):
                yield self._rows(week, without_week, rows)

    def _query(self, bigquery_table: BigQueryTable) -> str:
        if self._is_aggregate:
            return aggregate_query(bigquery_table, self._tables_of_query(bigquery_table))
        return rows_query(bigquery_table)

    def _rows(
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
            read_session = open_session(
                client,
                str(job.destination),
                restriction=excerpt.restriction,
                columns=excerpt.columns,
                job_project=self.settings.job_project,
            )
            yield session_schema(read_session), session_batches(client, read_session)

    @contextmanager
    def _storage(self) -> "Iterator[BigQueryReadClient]":
        client = storage_client(self.settings)
        try:
            yield client
        finally:
            client.transport.close()


def _as_wanted(table: BigQueryTable, instant: datetime) -> BigQueryTable:
    """Return a table to be read as of exactly this instant, also if it was made anew since.

    Raises:
        SettingsError: it is a view, of which BigQuery remembers nothing.
    """
    if not table.is_table:
        raise SettingsError(
            f"{table.name} is a view, which BigQuery shows only as it is now; --source-as-of needs "
            "a table"
        )
    return replace(table, instant=instant)
