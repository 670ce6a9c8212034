"""One batch is read ahead, be it of the next part, and nothing is lost on the way."""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg import sql

from sqp_refresh.errors import DataError
from sqp_refresh.ledger.decide import Decision, ReloadReason
from sqp_refresh.load.strategy import Strategy
from sqp_refresh.load.target import TargetPeriod
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import SqlRows
from sqp_refresh.model.tables import DAILY_SQP_DATA
from sqp_refresh.model.versions import ParentVersions
from sqp_refresh.refresh.periods.prefetch import prefetch
from sqp_refresh.refresh.periods.prepared_period import PreparedPeriod
from sqp_refresh_tests.helpers.nights import FIRST

SCHEMA = pa.schema([("number", pa.int64())])


def week(number: int) -> Period:
    return Period.week_of(FIRST + timedelta(weeks=number))


def prepared(number: int, rows: pa.RecordBatchReader | SqlRows) -> PreparedPeriod:
    decision = Decision(ReloadReason.NEW, ParentVersions({}), None)
    return PreparedPeriod(
        TargetPeriod(DAILY_SQP_DATA, week(number)), decision, Strategy.MERGE, rows
    )


def batches(numbers: Sequence[int], read: list[int]) -> Iterator[pa.RecordBatch]:
    for number in numbers:
        if number < 0:
            raise DataError(f"the source broke at {number}")
        read.append(number)
        yield pa.RecordBatch.from_pydict({"number": [number]}, schema=SCHEMA)


def parts(
    weeks: Sequence[Sequence[int] | None], read: list[int] | None = None
) -> Iterator[PreparedPeriod]:
    """Weeks of batches with one number each; None is a query, a negative number breaks."""
    read = read if read is not None else []
    for number, numbers in enumerate(weeks):
        if numbers is None:
            yield prepared(number, SqlRows(sql.SQL("SELECT 1"), ("number",)))
            continue
        reader = pa.RecordBatchReader.from_batches(SCHEMA, batches(numbers, read))
        yield prepared(number, reader)


def numbers(part: PreparedPeriod) -> list[int] | None:
    if isinstance(part.rows, SqlRows):
        return None
    return [number for batch in rows(part) for number in batch.column("number").to_pylist()]


def rows(part: PreparedPeriod) -> pa.RecordBatchReader:
    assert isinstance(part.rows, pa.RecordBatchReader)
    return part.rows


weeks_of_numbers = st.lists(st.none() | st.lists(st.integers(0, 99), max_size=4), max_size=6)


@given(weeks_of_numbers)
def test_every_part_comes_with_its_own_batches_in_their_order(weeks):
    came = {part.target.period: numbers(part) for part in prefetch(parts(weeks))}

    assert list(came.items()) == [(week(number), expected) for number, expected in enumerate(weeks)]


@given(weeks_of_numbers, st.data())
def test_what_a_part_leaves_unread_is_passed_over(weeks, data):
    for part in prefetch(parts(weeks)):
        expected = weeks[(part.target.period.start - FIRST).days // 7]
        if expected is None:
            continue
        taken = data.draw(st.integers(0, len(expected)))
        taken_numbers = [next(rows(part)).column("number")[0].as_py() for _ in range(taken)]
        assert taken_numbers == expected[:taken]


def test_one_is_read_ahead_be_it_of_the_next_part_and_never_more():
    read: list[int] = []
    taken = 0

    for part in prefetch(parts([[0, 1, 2], [], [3], [4, 5]], read)):
        for _ in rows(part):
            taken += 1
            allowed = min(taken + 1, 6)
            wait_for(read, allowed)
            time.sleep(0.02)  # in which a thread that may would read more
            assert len(read) == allowed


def wait_for(read: list[int], count: int) -> None:
    """Wait until so many are read, as long as a busy machine may need for it."""
    deadline = time.monotonic() + 10
    while len(read) < count and time.monotonic() < deadline:
        time.sleep(0.001)


def test_a_part_ends_before_the_next_is_there():
    is_published = threading.Event()

    def waiting() -> Iterator[PreparedPeriod]:
        for number, part in enumerate(parts([[0], [1]])):
            assert number == 0 or is_published.wait(timeout=10)
            yield part

    coming = prefetch(waiting())

    assert numbers(next(coming)) == [0]
    is_published.set()
    assert numbers(next(coming)) == [1]


@pytest.mark.parametrize(
    ("weeks", "whole"), [([[0], [1, -1]], {0: [0]}), ([[0], [1], [-1, 2]], {0: [0], 1: [1]})]
)
def test_what_breaks_is_raised_in_its_place(weeks: list[list[int]], whole: Mapping[int, list[int]]):
    came = {}
    with pytest.raises(DataError, match="the source broke at -1"):
        for part in prefetch(parts(weeks)):
            came[part.target.period] = numbers(part)

    assert came == {week(number): expected for number, expected in whole.items()}


def test_what_breaks_between_two_parts_is_raised_there():
    def broken() -> Iterator[PreparedPeriod]:
        yield from parts([[0, 1]])
        raise DataError("the source broke")

    coming = prefetch(broken())

    assert numbers(next(coming)) == [0, 1]
    with pytest.raises(DataError, match="the source broke"):
        next(coming)


@pytest.mark.parametrize("weeks", [[[0, 1], [2]], [[], [], []], [None, None]])
def test_who_stops_early_leaves_no_thread_behind(weeks):
    before = threading.active_count()
    coming = prefetch(parts(weeks))
    next(coming)
    coming.close()

    assert threading.active_count() == before
