"""Fingerprints that cannot be read are made again, by comparing all rows of their period."""

import pytest

from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import deliver
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import FIRST

KEPT = "SELECT row_fingerprints FROM sqp.refresh_periods"
DELIVERED = [row(day=FIRST, query=f"query {number}") for number in range(3)]


@pytest.mark.parametrize(
    "damaged",
    ["''", r"'\x00ff'", "substr(row_fingerprints, 9)", "substr(row_fingerprints, 1, 200)"],
)
def test_a_refresh_goes_on_without_them_and_leaves_new_ones(migrated_database, damaged):
    url = migrated_database
    deliver(url, DELIVERED)
    before = rows(url, KEPT)
    execute(url, f"UPDATE sqp.refresh_periods SET row_fingerprints = {damaged}")

    done = deliver(url, [DELIVERED[0] | {"Search Query Volume": 9_000}, *DELIVERED[1:]])

    assert (done.counts.updated, done.counts.unchanged, len(done.reloaded)) == (1, 2, 1)
    deliver(url, DELIVERED)
    assert rows(url, KEPT) == before
