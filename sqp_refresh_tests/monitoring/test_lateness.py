"""Check when a table counts as overdue."""

from datetime import UTC, datetime, timedelta

import pytest

from sqp_refresh.monitoring.lateness import idle_ticks, is_overdue
from sqp_refresh.monitoring.views import TableFreshness

TICK = datetime(2025, 8, 18, 2, tzinfo=UTC)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def table(
    next_refresh_at: datetime, last_tick: datetime | None, *, is_enabled: bool = True
) -> TableFreshness:
    """Return a table that is due and was served at these instants."""
    return TableFreshness(
        table_name="weekly_summary",
        is_enabled=is_enabled,
        newest_period_start=None,
        newest_period_end=None,
        days_behind=None,
        row_count=0,
        last_refresh_at=None,
        next_refresh_at=next_refresh_at,
        refresh_frequency_hours=24,
        last_started_at=None,
        last_status=None,
        last_message=None,
        last_tick=last_tick,
        is_running=False,
    )


@pytest.mark.parametrize(
    ("due", "served", "expected"),
    [
        (TICK, TICK - DAY, True),
        (TICK - DAY, None, True),  # it never was refreshed
        (TICK + HOUR, TICK - DAY, False),  # it became due after the tick, and waits for the next
        (TICK + DAY, TICK, False),
        (TICK, TICK, False),  # a run served the tick, and failed or is at work
        (TICK, TICK + HOUR, False),  # a later tick's run has it
    ],
)
def test_a_table_is_overdue_where_a_tick_found_it_due_and_no_run_served_it(due, served, expected):
    assert is_overdue(table(due, served), TICK) is expected
    assert not is_overdue(table(due, served), None)
    assert not is_overdue(table(due, served, is_enabled=False), TICK)


@pytest.mark.parametrize(
    ("pause", "expected"),
    [
        (timedelta(minutes=3), "REFRESH_CRON ticks every 3 minutes, but takes a table again only"),
        (HOUR, "REFRESH_CRON ticks every 60 minutes"),
        (DAY, ""),
        (3 * DAY, ""),
    ],
)
def test_ticks_that_find_no_table_due_are_told(pause, expected):
    ticks = [TICK, TICK + pause]
    sentence = idle_ticks([table(TICK, TICK)], ticks)

    assert sentence.startswith(expected) and bool(sentence) is bool(expected)
    assert not sentence or "24 hours have passed: refresh_frequency_hours" in sentence
    assert not idle_ticks([table(TICK, TICK, is_enabled=False)], ticks)
    assert not idle_ticks([table(TICK, TICK)], ticks[:1])
