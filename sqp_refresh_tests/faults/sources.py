"""Feeds during which something happens, once: between two weeks, or in the middle of one."""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa

from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, SourceBatches
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.progress import wait_until_published
from sqp_refresh_tests.helpers.weeks import WEEKS


class Disturbed(BigQuerySource):
    """A feed of the three weeks, with what is to happen."""

    happens: Callable[[], object]

    def __init__(self, settings: Settings, happens: Callable[[], object]) -> None:
        super().__init__(settings, SEARCH_QUERY_PERFORMANCE, WEEKS)
        self.happens = happens

    def happen(self) -> None:
        happens, self.happens = self.happens, lambda: None
        happens()


class DisturbedAfterAWeek(Disturbed):
    """It happens once the first week is published, before the second is asked for."""

    def read(self, periods: Sequence[Period]) -> Generator[PeriodRows]:
        for part in super().read(periods):
            yield part
            wait_until_published(self.settings.database_url, self.table.name, 1)
            self.happen()


class DisturbedWithinAWeek(Disturbed):
    """It happens once the first batch of the second week is on its way into Postgres."""

    def read(self, periods: Sequence[Period]) -> Generator[PeriodRows]:
        for part in super().read(periods):
            yield self._disturbed(part) if part.period == WEEKS[1] else part

    def _disturbed(self, part: PeriodRows) -> PeriodRows:
        assert isinstance(part.rows, SourceBatches)
        return replace(part, rows=replace(part.rows, batches=self._halted(part.rows.batches)))

    def _halted(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield batch
            self.happen()
