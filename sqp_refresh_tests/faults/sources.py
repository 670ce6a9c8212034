"""Sources that call a function once: between two weeks, or in the middle of one."""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pyarrow as pa

from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, SourceBatches
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.model.versions import SourceVersion
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.progress import wait_until_published
from sqp_refresh_tests.helpers.weeks import WEEKS


class Disturbed(BigQuerySource):
    """A source of the three weeks that calls a function once, as a disturbance."""

    disturb: Callable[[], object]

    def __init__(self, settings: Settings, disturb: Callable[[], object]) -> None:
        super().__init__(settings, SEARCH_QUERY_PERFORMANCE, WEEKS)
        self.disturb = disturb

    def disturb_once(self) -> None:
        disturb, self.disturb = self.disturb, lambda: None
        disturb()


class DisturbedBeforeTheFirstWeek(Disturbed):
    """The disturbance comes once BigQuery has told what there is, before a checkpoint is opened."""

    def versions(
        self, session: Session, periods: Sequence[Period]
    ) -> Mapping[Period, SourceVersion]:
        versions = super().versions(session, periods)
        self.disturb_once()
        return versions


class DisturbedAfterAWeek(Disturbed):
    """The disturbance comes once the first week is published, before the second is read."""

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        for part in super().read(periods):
            yield part
            wait_until_published(self.settings.database_url, self.table.name, 1)
            self.disturb_once()


class DisturbedWithinAWeek(Disturbed):
    """The disturbance comes once the first batch of the second week is being written."""

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        for part in super().read(periods):
            yield self._disturbed(part) if part.period == WEEKS[1] else part

    def _disturbed(self, period_rows: PeriodRows) -> PeriodRows:
        source_rows = period_rows.rows
        assert isinstance(source_rows, SourceBatches)
        batches = self._disturbed_after_the_first(source_rows.batches)
        return replace(period_rows, rows=replace(source_rows, batches=batches))

    def _disturbed_after_the_first(
        self, batches: Iterable[pa.RecordBatch]
    ) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            self.disturb_once()
