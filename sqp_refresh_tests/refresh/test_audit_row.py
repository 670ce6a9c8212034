"""The row of a refresh is in the audit log, also where somebody deletes rows of it meanwhile."""

from contextlib import suppress

import pytest

from sqp_refresh.errors import Rejected
from sqp_refresh.load import strategy
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import deliver, tolerate
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import FIRST

CLEAR = (
    "DELETE FROM sqp.refresh_data_quality; DELETE FROM sqp.refresh_quarantine;"
    "DELETE FROM sqp.refresh_audit_log"
)
GOOD = [row(day=FIRST, query=f"query {number}") for number in range(3)]
BAD = row(day=FIRST, asin="no ASIN")


@pytest.mark.parametrize(
    ("delivered", "tolerated", "status"),
    [(GOOD, 0.01, "success"), ([*GOOD, BAD], 0.5, "warning"), ([*GOOD, BAD], 0.01, "failed")],
)
def test_a_row_that_was_deleted_beside_its_refresh_is_there_when_it_ends(
    migrated_database, monkeypatch, delivered, tolerated, status
):
    url, load = migrated_database, strategy.load
    tolerate(url, tolerated)

    def load_once_the_log_is_cleared(*args):
        execute(url, CLEAR)
        return load(*args)

    monkeypatch.setattr(strategy, "load", load_once_the_log_is_cleared)
    with suppress(Rejected):
        deliver(url, delivered)

    query = (
        "SELECT status, execution_time_ms >= 0, sync_metadata ? 'run_id' FROM sqp.refresh_audit_log"
    )
    assert rows(url, query) == [(status, True, True)]
    waiting = "SELECT count(*) FROM sqp.refresh_quarantine"
    assert rows(url, waiting) == [(len(delivered) - len(GOOD),)]
