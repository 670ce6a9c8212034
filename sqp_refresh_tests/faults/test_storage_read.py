"""Refresh while the Storage Read API fails."""

import pytest

from sqp_refresh.errors import Kind
from sqp_refresh.settings import Settings
from sqp_refresh_tests.faults.outcome import (
    assert_published,
    assert_succeeded,
    fails,
    refreshed,
)
from sqp_refresh_tests.faults.proxies import Fault
from sqp_refresh_tests.faults.sources import DisturbedAfterAWeek
from sqp_refresh_tests.helpers.weeks import WEEKS

FAULTS = [fault for fault in Fault if fault is not Fault.QUOTA_AS_403]
SESSION, ROWS = "/CreateReadSession", "/ReadRows"
pytestmark = pytest.mark.timeout(90)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refresh_outlasts_sessions_that_are_not_opened_at_once(storage_read, fault):
    storage_read.trouble.begin(fault, on=SESSION, times=1)

    refreshed("r")

    assert len(storage_read.trouble.hits) == 1
    assert_published(WEEKS)
    assert_succeeded("r")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_stream_that_breaks_goes_on_at_the_next_row_and_no_row_comes_twice(storage_read, fault):
    storage_read.trouble.begin(fault, on=ROWS, times=2, after_rows=1)

    refreshed("r")

    assert storage_read.offsets == [0, 1, 2, 0, 0]
    assert_published(WEEKS)
    assert_succeeded("r")


@pytest.mark.parametrize(
    ("fault", "on"), [*((fault, ROWS) for fault in FAULTS), (Fault.STALL, SESSION)]
)
def test_a_fault_that_stays_ends_the_refresh_which_the_next_one_resumes(storage_read, fault, on):
    breaks = lambda: storage_read.trouble.begin(fault, on=on)  # noqa: E731
    kind = Kind.QUOTA if fault is Fault.QUOTA else Kind.TRANSIENT
    fails("broken", kind, DisturbedAfterAWeek(Settings.read(), breaks))
    assert_published(WEEKS[:1])

    storage_read.trouble.end()
    summary = refreshed("next")

    assert (list(summary.periods), summary.resumes) == (WEEKS[1:], "broken")
    assert_published(WEEKS)
    assert_succeeded("next", rows_read=8)
