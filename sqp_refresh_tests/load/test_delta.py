"""A fingerprint tells a row from every other, and the same row again."""

import subprocess
import sys
from datetime import date

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.load.delta import Fingerprints
from sqp_refresh_tests.load.fingerprints import SCHEMA, fingerprints, incoming

rows = st.fixed_dictionaries(
    {
        "asin": st.text(max_size=12),
        "report_date": st.none() | st.dates(),
        "clicks": st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3),
        "share": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "price": st.none() | st.decimals(0, 10**9, places=2),
        "is_sold": st.none() | st.booleans(),
    }
)


@given(st.lists(rows, unique_by=lambda row: row["asin"], max_size=8), st.data())
def test_exactly_the_rows_that_were_known_are_left_out(read, data):
    known = data.draw(st.sets(st.sampled_from(range(len(read))))) if read else set()
    cut = data.draw(st.integers(0, len(read)))
    kept = fingerprints([read[place] for place in known])

    again = incoming(read[:cut], read[cut:], known=kept)
    differing = [row for batch in again.differing() for row in batch.to_pylist()]

    assert differing == [row for place, row in enumerate(read) if place not in known]
    assert again.left_out == len(known)


@given(rows, st.sampled_from(SCHEMA.names), rows)
def test_a_row_that_differs_in_one_value_is_another_row(row, column, other):
    changed = row | {column: other[column]}

    differing = incoming([changed], known=fingerprints([row])).differing()

    assert bool(list(differing)) == (changed != row)


@given(st.lists(rows, min_size=1, max_size=8, unique_by=lambda row: row["asin"]))
def test_the_order_and_the_batches_of_the_rows_make_no_difference(read):
    assert fingerprints(read) == fingerprints(read[::-1][:1], read[::-1][1:])


def test_rows_of_one_key_are_not_told_apart():
    row = {"asin": "A", "report_date": date(2025, 8, 10), "clicks": 1}
    read = incoming([row], [row | {"clicks": 2}])
    assert len(list(read.differing())) == 2

    assert not read.has_each_key_once
    assert read.fingerprints() is None


def test_no_rows_have_no_fingerprints_and_are_known_to_nobody():
    none = Fingerprints.from_bytes(fingerprints())

    assert len(none) == 0
    assert none.have(pl.Series([1, 2], dtype=pl.UInt64)).to_list() == [False, False]


def test_another_process_computes_the_same():
    row = {"asin": "A", "clicks": 1, "share": 0.5}
    told = (
        "from sqp_refresh_tests.load.fingerprints import fingerprints;"
        f"print(fingerprints([{row!r}]).hex())"
    )

    printed = subprocess.run(
        [sys.executable, "-c", told], check=True, capture_output=True, text=True
    )

    assert printed.stdout.strip() == fingerprints([row]).hex()
