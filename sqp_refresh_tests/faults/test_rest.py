"""Refresh while BigQuery's jobs and metadata fail."""

import pytest

from sqp_refresh.errors import Kind
from sqp_refresh_tests.faults.outcome import (
    assert_published,
    assert_succeeded,
    fails,
    refreshed,
)
from sqp_refresh_tests.faults.proxies import Fault
from sqp_refresh_tests.helpers.weeks import WEEKS

TABLE, INSERT, RESULT = "GET /bigquery/v2/projects/test-project/datasets", "POST ", "/queries/"
pytestmark = pytest.mark.timeout(90)

# Each fault once where a job is started, and the worst of them everywhere.
STRIKES = [
    *((fault, INSERT) for fault in Fault if fault is not Fault.QUOTA_AS_403),
    (Fault.STALL, TABLE),
    (Fault.STALL, RESULT),
]


@pytest.mark.parametrize(("fault", "on"), STRIKES)
def test_a_refresh_outlasts_a_fault_that_passes(rest, fault, on):
    times = 1 if fault is Fault.STALL else 3
    rest.trouble.begin(fault, on=on, times=times)

    refreshed("r")

    assert len(rest.trouble.hits) == times
    assert_published(WEEKS)
    assert_succeeded("r")


@pytest.mark.parametrize(("fault", "on"), STRIKES)
def test_a_fault_that_stays_fails_the_refresh_and_costs_nothing_else(rest, fault, on):
    refreshed("before", WEEKS[:1])
    rest.trouble.begin(fault, on=on)

    fails("broken", Kind.QUOTA if fault is Fault.QUOTA else Kind.TRANSIENT)
    assert_published(WEEKS[:1])

    rest.trouble.end()
    assert list(refreshed("next").periods) == WEEKS[1:]
    assert_published(WEEKS)
    assert_succeeded("next", rows_read=8)


def test_a_used_up_quota_is_told_from_a_missing_right(rest):
    rest.trouble.begin(Fault.QUOTA_AS_403, on=INSERT)

    fails("broken", Kind.QUOTA)
