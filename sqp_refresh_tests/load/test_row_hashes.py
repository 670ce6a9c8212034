"""A hash tells a row from every other, and the same row again."""

import subprocess
import sys
from contextlib import suppress
from datetime import date
from random import Random

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.load.result import NeedsMerge
from sqp_refresh.load.row_hashes import RowHashes
from sqp_refresh_tests.load.hashed_rows import (
    SCHEMA,
    hashes_of,
    made_up_rows,
    reader_of,
    row_hasher,
)


@given(made_up_rows, st.sampled_from(SCHEMA.names), made_up_rows)
def test_a_row_that_differs_in_one_value_has_another_hash(row, column, other):
    changed = row | {column: other[column]}
    (batch,) = reader_of([changed])

    is_same = RowHashes.from_bytes(hashes_of([row])).contain(row_hasher().add(batch))

    assert is_same.to_list() == [changed == row]


@given(st.lists(made_up_rows, min_size=1, max_size=8, unique_by=lambda row: row["asin"]))
def test_the_order_and_the_batches_of_the_rows_make_no_difference(rows):
    assert hashes_of(rows) == hashes_of(rows[::-1][:1], rows[::-1][1:])


def test_rows_of_which_two_have_one_key_have_no_hashes():
    row = {"asin": "A", "report_date": date(2025, 8, 10), "clicks": 1}
    hasher = row_hasher()

    for batch in reader_of([row], [row | {"clicks": 2}]):
        assert hasher.has_unique_keys
        hasher.add(batch)

    assert hasher.rows == 2
    assert not hasher.has_unique_keys
    assert hasher.to_bytes() is None


def test_keys_are_due_to_be_looked_through_whenever_the_rows_have_doubled():
    hasher = row_hasher()
    due_at = []
    for batch in reader_of(*([{"asin": str(number)}] for number in range(9))):
        hasher.add(batch)
        if hasher.is_due:
            assert hasher.has_unique_keys
            due_at.append(hasher.rows)

    assert due_at == [1, 2, 4, 8]


def test_the_hashes_of_no_rows_contain_none():
    hashes = RowHashes.from_bytes(hashes_of())

    assert len(hashes) == 0
    assert hashes.contain(pl.Series([1, 2], dtype=pl.UInt64)).to_list() == [False, False]


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"no stream",
        hashes_of([{"asin": "A"}])[:-20],
        hashes_of([{"asin": "A"}])[20:],
        pl.DataFrame().write_ipc_stream(None).getvalue(),
        pl.DataFrame({"row": ["a"]}).write_ipc_stream(None).getvalue(),
        pl.DataFrame({"row": [1, 2]}).write_ipc_stream(None).getvalue(),
        pl.DataFrame({"row": [None]}, {"row": pl.UInt64}).write_ipc_stream(None).getvalue(),
        pl.DataFrame({"row": [2, 1]}, {"row": pl.UInt64}).write_ipc_stream(None).getvalue(),
    ],
)
def test_hashes_that_cannot_be_read_need_a_merge(kept):
    with pytest.raises(NeedsMerge):
        RowHashes.from_bytes(kept)


def test_damage_is_noticed_or_leaves_hashes_that_can_be_used():
    kept, random = hashes_of([{"asin": str(number)} for number in range(5)]), Random(7)
    for _ in range(500):
        damaged = bytearray(kept)
        damaged[random.randrange(len(damaged))] = random.randrange(256)
        with suppress(NeedsMerge):
            RowHashes.from_bytes(bytes(damaged)).contain(pl.Series([1], dtype=pl.UInt64))


def test_no_rows_have_unique_keys():
    assert row_hasher().has_unique_keys


def test_only_the_columns_that_were_named_are_hashed():
    (batch,) = reader_of([{"asin": "A", "clicks": 1}])
    wider = batch.append_column(pa.field("more", pa.int64()), pa.array([1]))

    assert row_hasher().add(batch).to_list() == row_hasher().add(wider).to_list()


def test_another_process_computes_the_same():
    row = {"asin": "A", "clicks": 1, "share": 0.5}
    program = (
        "from sqp_refresh_tests.load.hashed_rows import hashes_of;"
        f"print(hashes_of([{row!r}]).hex())"
    )

    printed = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )

    assert printed.stdout.strip() == hashes_of([row]).hex()
