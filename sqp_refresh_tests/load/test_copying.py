"""Batches are read one ahead of the one that travels, and nothing of them is lost on the way."""

import threading
from collections.abc import Iterator

import pyarrow as pa
import pytest

from sqp_refresh.errors import DataError
from sqp_refresh.load.copying import ahead


def batches(count: int, read: list[int], broken_at: int | None = None) -> Iterator[pa.RecordBatch]:
    for number in range(count):
        if number == broken_at:
            raise DataError("the source broke")
        read.append(number)
        yield pa.RecordBatch.from_pydict({"number": [number]})


def numbers(given: Iterator[pa.RecordBatch]) -> Iterator[int]:
    for batch in given:
        yield from batch.column("number").to_pylist()


def test_they_come_in_their_order():
    assert list(numbers(ahead(batches(20, [])))) == list(range(20))
    assert list(ahead(iter(()))) == []


def test_never_more_than_one_is_read_ahead():
    read: list[int] = []

    for number in numbers(ahead(batches(20, read))):
        assert len(read) <= number + 2


def test_the_next_is_read_while_one_is_at_work():
    is_read = threading.Event()

    def two() -> Iterator[pa.RecordBatch]:
        yield pa.RecordBatch.from_pydict({"number": [0]})
        is_read.set()
        yield pa.RecordBatch.from_pydict({"number": [1]})

    given = ahead(two())
    next(given)

    assert is_read.wait(timeout=10)
    given.close()


def test_a_source_that_breaks_says_so_after_the_batches_before_it():
    came: list[int] = []
    with pytest.raises(DataError, match="the source broke"):
        came.extend(numbers(ahead(batches(5, [], broken_at=3))))

    assert came == [0, 1, 2]


def test_who_stops_early_leaves_no_thread_behind():
    before = threading.active_count()
    given = ahead(batches(5, []))
    next(given)
    given.close()

    assert threading.active_count() == before
