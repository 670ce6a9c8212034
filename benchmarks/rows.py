"""Write the rows that all contenders load: the demo's year, of more ASINs, several years on.

A big week is the demo's week of six agencies, cut at `PER_WEEK` rows; a small one is what the
deployment guide's agency has. Every key is unique, every row keeps its contract.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from sqp_refresh.demo.year import SCHEMA, SUNDAYS, week_of_rows
from sqp_refresh.extract.split_weeks import in_batches_of
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import (
    CHILD_ASIN_TITLE,
    DATE_TITLE,
    SEARCH_QUERY_PERFORMANCE,
    SQP_REPORT,
)
from sqp_refresh.settings import Settings
from sqp_refresh.validate.conform import conform

PER_WEEK = 20_000
SMALL_WEEK = 4_000
CHANGED = 50
"""Every such row differs in the changed weeks: 2 %."""

_AGENCIES = 6  # of about 4,050 rows a week
_RESTATED = "Search Query Score"
_FIRST = SUNDAYS[0]


@dataclass(frozen=True, slots=True)
class Rows:
    """A file of weeks, one Arrow batch each, in the order of time.

    It is read batch by batch, as rows come from a network, never mapped into memory.
    """

    path: Path

    def weeks(self) -> list[Period]:
        """Return the weeks in it."""
        first = int(self._metadata()["first"])
        return [_period(first + week) for week in range(self._reader().num_record_batches)]

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield rows as the source sends them: its titles, its types, the default batch size."""
        size = Settings.model_fields["REFRESH_BATCH_SIZE"].default
        for batch in self._weekly():
            yield from in_batches_of(size, [batch])

    def batches_of(self, weeks: Iterable[Period]) -> Iterator[tuple[Period, pa.RecordBatch]]:
        """Yield the rows of each of these weeks, which are one batch of its own."""
        reader, numbers = self._reader(), {week: n for n, week in enumerate(self.weeks())}
        for week in weeks:
            yield week, reader.get_batch(numbers[week])

    def of_target(self) -> pa.Table:
        """Return all rows in the target's columns, for contenders that only load."""
        rows = zip(self.weeks(), self._weekly(), strict=True)
        return pa.Table.from_batches([in_target_columns(week, batch) for week, batch in rows])

    def _weekly(self) -> Iterator[pa.RecordBatch]:
        reader = self._reader()
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)

    def _reader(self) -> pa.RecordBatchFileReader:
        return pa.ipc.open_file(pa.OSFile(str(self.path)))

    def _metadata(self) -> dict[str, str]:
        metadata = self._reader().schema.metadata or {}
        return {key.decode(): value.decode() for key, value in metadata.items()}


def write_rows(
    path: Path, weeks: int, *, first: int = 0, per_week: int = PER_WEEK, changed: bool = False
) -> None:
    """Write a file of weeks, unless the file exists.

    Args:
        path: The file.
        weeks: How many.
        first: The number of the first week.
        per_week: Rows of each.
        changed: Whether every `CHANGED`th row has another value than the unchanged weeks.
    """
    if path.exists():
        return
    schema = SCHEMA.with_metadata({"first": str(first)})
    unfinished = path.with_suffix(".unfinished")
    year: dict[int, pa.RecordBatch] = {}
    with pa.OSFile(str(unfinished), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        for number in range(first, first + weeks):
            of_year = number % len(SUNDAYS)
            if of_year not in year:
                year[of_year] = _of_all_agencies(week_of_rows(SUNDAYS[of_year]))
            week = _dated(year[of_year].slice(0, per_week), _period(number).start)
            writer.write_batch(_restated(week) if changed else week)
    unfinished.rename(path)


def _period(week: int) -> Period:
    return Period.week_of(_FIRST + timedelta(weeks=week))


def _of_all_agencies(week: pa.Table) -> pa.RecordBatch:
    """Return the week of several agencies, which differ in the last character of their ASINs."""
    place = week.schema.get_field_index(CHILD_ASIN_TITLE)
    asins = week.column(place)
    copies = [
        week.set_column(place, CHILD_ASIN_TITLE, _ending(asins, chr(ord("A") + agency)))
        for agency in range(_AGENCIES)
    ]
    return pa.concat_tables(copies).combine_chunks().to_batches()[0]


def _ending(asins: pa.ChunkedArray, mark: str) -> pa.ChunkedArray:
    options = pc.ReplaceSliceOptions(9, 10, mark)
    return pc.call_function("utf8_replace_slice", [asins], options)


def _dated(week: pa.RecordBatch, sunday: date) -> pa.RecordBatch:
    place = week.schema.get_field_index(DATE_TITLE)
    midnight = datetime(sunday.year, sunday.month, sunday.day)
    dates = pa.repeat(pa.scalar(midnight, pa.timestamp("us")), week.num_rows)
    return week.set_column(place, SCHEMA.field(place), dates.cast(SCHEMA.field(place).type))


def _restated(week: pa.RecordBatch) -> pa.RecordBatch:
    place = week.schema.get_field_index(_RESTATED)
    more = pa.array([int(row % CHANGED == 0) for row in range(week.num_rows)], pa.int64())
    restated = pc.call_function("add", [week.column(place), more])
    return week.set_column(place, SCHEMA.field(place), restated)


def in_target_columns(week: Period, batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the rows of a week in the target's columns."""
    rows = conform(SQP_REPORT, batch, {}).rows
    whole = {"start_date": week.start, "end_date": week.end}
    return pa.RecordBatch.from_pydict(
        {
            column.name: pa.repeat(pa.scalar(whole[column.name]), batch.num_rows)
            if column.name in whole
            else rows.column(column.name)
            for column in SEARCH_QUERY_PERFORMANCE.columns
        }
    )
