from datetime import date, timedelta
from itertools import islice, pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.extract.split_weeks import by_week, in_batches_of
from sqp_refresh.extract.sql import WEEK
from sqp_refresh.model.periods import weeks_between

FIRST = date(2024, 8, 18)
WEEKS = list(weeks_between(FIRST, FIRST + timedelta(days=7 * 9)))


def batches_of(rows: list[tuple[date, int]], cuts: list[int]) -> list[pa.RecordBatch]:
    table = pa.table(
        {
            WEEK: pa.array([week for week, _ in rows], pa.date32()),
            "number": pa.array([number for _, number in rows], pa.int64()),
        }
    ).combine_chunks()
    edges = [0, *sorted({min(cut, len(rows)) for cut in cuts}), len(rows)]
    return [
        batch
        for start, end in pairwise(edges)
        for batch in table.slice(start, end - start).to_batches()
    ]


rows_by_week = st.lists(st.sampled_from(range(len(WEEKS))), max_size=60).map(
    lambda indexes: [(WEEKS[index].start, n) for n, index in enumerate(sorted(indexes))]
)


@given(rows_by_week, st.lists(st.integers(0, 60), max_size=8), st.sets(st.sampled_from(range(10))))
def test_an_ordered_stream_is_cut_into_its_weeks_wherever_the_batches_end(rows, cuts, chosen):
    weeks = [WEEKS[index] for index in sorted(chosen)]
    starts = {week.start for week in weeks}
    requested = [(week, number) for week, number in rows if week in starts]

    cut = [
        (week.start, number)
        for week, batches in by_week(batches_of(requested, cuts), weeks)
        for batch in batches
        for number in batch["number"].to_pylist()
    ]

    assert cut == requested


@given(
    rows_by_week,
    st.lists(st.integers(0, 60), max_size=8),
    st.lists(st.integers(0, 3), min_size=len(WEEKS), max_size=len(WEEKS)),
)
def test_a_week_that_is_given_up_leaves_nothing_to_the_next(rows, cuts, patience):
    for (week, batches), most in zip(by_week(batches_of(rows, cuts), WEEKS), patience, strict=True):
        cut = [number for batch in islice(batches, most) for number in batch["number"].to_pylist()]
        expected = [number for sunday, number in rows if sunday == week.start]

        assert cut == expected[: len(cut)]
        assert most < 3 or len(cut) > 0 or not expected


def test_a_week_without_rows_comes_with_none():
    rows = [(WEEKS[0].start, 1), (WEEKS[2].start, 2)]

    counts = [
        sum(batch.num_rows for batch in batches)
        for _, batches in by_week(batches_of(rows, []), WEEKS[:4])
    ]

    assert counts == [1, 0, 1, 0]


def test_the_column_that_cuts_is_dropped():
    ((_, batches),) = by_week(batches_of([(WEEKS[0].start, 1)], []), WEEKS[:1])

    assert next(batches).schema.names == ["number"]


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 50))
def test_batches_of_one_size_hold_the_same_rows(sizes, size):
    numbers = pa.array(range(sum(sizes)), pa.int64())
    blocks, start = [], 0
    for length in sizes:
        blocks.append(pa.record_batch([numbers.slice(start, length)], ["number"]))
        start += length

    batches = list(in_batches_of(size, blocks))

    assert [n for batch in batches for n in batch["number"].to_pylist()] == numbers.to_pylist()
    assert all(batch.num_rows == size for batch in batches[:-1])
    assert all(0 < batch.num_rows <= size for batch in batches)
