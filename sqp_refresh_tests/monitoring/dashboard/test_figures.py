"""Compare the dashboard's figures with what the audit rows add up to by hand."""

from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqp_refresh.monitoring.dashboard import formatting
from sqp_refresh.monitoring.dashboard.figures import Figures, Health, read_figures
from sqp_refresh.monitoring.views import Night
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.monitoring.dashboard.history import AT, DAY, History

QUERIES, DAILY = "search_query_performance", "daily_sqp_data"
TODAY = datetime.combine(AT.date(), time(0, 5), UTC)
HOUR = timedelta(hours=1)
LAST_TICK = AT - 2 * HOUR
"""When the schedule last ticked, as far as it is long enough ago to count."""


@pytest.fixture
def figures(filled: History, migrated_database: str):
    def of(days: int = 30, at: datetime = AT) -> Figures:
        with connect(migrated_database) as session, session.transaction():
            return read_figures(session, at, days=days, last_tick=LAST_TICK)

    return of


def test_the_figures_are_those_of_the_audit_rows(filled, figures):
    filled.register(QUERIES)
    filled.register(DAILY, priority=1)
    filled.run(QUERIES, TODAY - 2 * DAY, seconds=10, counts=(100, 10, 5, 1))
    filled.run(QUERIES, TODAY - DAY, "failed", seconds=4, counts=(7, 0, 0, 0), message="away")
    filled.run(QUERIES, TODAY - DAY + HOUR, seconds=6.5, counts=(50, 20, 0, 2))
    filled.run(DAILY, TODAY - DAY, "warning", seconds=1, counts=(9, 3, 3, 3), message="late")
    filled.run(QUERIES, TODAY, "running")
    filled.run(QUERIES, TODAY - 40 * DAY, "failed")
    filled.holds(QUERIES, TODAY.date() - 10 * DAY, 7)

    shown = figures()

    queries, daily = shown.tables
    assert queries.nights == [
        Night(QUERIES, (TODAY - 2 * DAY).date(), "success", None, 1, 1, 10.0, 100, 10, 5, 1),
        Night(QUERIES, (TODAY - DAY).date(), "success", None, 2, 1, 10.5, 57, 20, 0, 2),
    ]
    assert [(night.status, night.changed) for night in daily.nights] == [("warning", 9)]
    assert shown.success_rate == 50  # two successes of four refreshes; the one at work is none yet
    assert shown.pass_rate is None
    assert shown.good_nights == 2
    fresh, without_rows = queries.freshness, daily.freshness
    assert (fresh.row_count, without_rows.row_count) == (52 * 7, 0)
    assert fresh.days_behind in range(4, 11)
    assert (without_rows.newest_period_end, without_rows.days_behind) == (None, None)
    assert (fresh.is_running, without_rows.is_running) == (True, False)


def test_the_last_verdict_of_a_night_counts(filled, figures):
    filled.register(QUERIES)
    audit_id = filled.run(
        QUERIES, TODAY - DAY, metrics={"null_ratio": (0.2, 0.01, False), "row_count": (4, 4, True)}
    )
    filled.judge(audit_id, {"null_ratio": (0.001, 0.01, True)})
    filled.run(QUERIES, TODAY, metrics={"freshness_days": (12, 10, False)})

    (queries,) = figures().tables

    before, last = queries.nights
    assert [metric.name for metric in before.judged] == ["null_ratio", "row_count"]
    assert before.failing == []
    assert [formatting.describe_metric(metric) for metric in last.failing] == [
        "freshness_days is 12, should be at most 10"
    ]
    assert figures().pass_rate == pytest.approx(100 * 2 / 3)


@pytest.mark.parametrize(
    ("status", "registry", "health"),
    [
        ("failed", {}, Health.FAILED),
        ("success", {"last_refresh_at": AT - 27 * HOUR}, Health.GOOD),
        (
            "success",
            {"last_refresh_at": AT - 27 * HOUR, "next_refresh_at": AT - 3 * HOUR},
            Health.OVERDUE,
        ),
        ("success", {"last_refresh_at": AT - HOUR, "next_refresh_at": AT - HOUR}, Health.GOOD),
        (None, {}, Health.NEVER),
        (None, {"next_refresh_at": AT - 27 * HOUR}, Health.OVERDUE),
        ("running", {}, Health.RUNNING),
        ("warning", {}, Health.WARNING),
        ("success", {}, Health.GOOD),
        ("failed", {"is_enabled": False}, Health.OFF),
    ],
)
def test_a_table_is_as_its_control_rows_say(filled, figures, status, registry, health):
    filled.register(QUERIES, **registry)
    if status:
        filled.run(QUERIES, TODAY, status)

    (table,) = figures().tables

    assert table.health is health


def test_a_check_that_fails_is_trouble_though_the_refresh_went_through(filled, figures):
    filled.register(QUERIES)
    filled.run(QUERIES, TODAY, metrics={"missing_weeks": (2, 0, False)})

    assert figures().tables[0].health is Health.CHECKS_FAIL


def test_what_needs_attention_comes_first_and_the_verdict_counts_it(filled, figures):
    for place, (table, status) in enumerate(
        {QUERIES: "success", DAILY: "warning", "weekly_summary": "failed"}.items()
    ):
        filled.register(table, priority=100 - place)
        filled.run(table, TODAY, status)

    shown = figures()

    assert [table.name for table in shown.tables] == [QUERIES, DAILY, "weekly_summary"]
    assert [table.name for table in shown.worst_first] == ["weekly_summary", DAILY, QUERIES]
    assert shown.verdict == "2 of 3 tables need attention"
    assert shown.command == "sqp-refresh history weekly_summary"
    assert shown.good_nights == 0


@pytest.mark.parametrize(
    ("off", "verdict"),
    [
        ([], "All 2 tables are up to date"),
        ([DAILY], "The table is up to date, 1 switched off"),
        ([DAILY, QUERIES], "No table is enabled"),
    ],
)
def test_a_table_that_is_switched_off_is_not_called_up_to_date(filled, figures, off, verdict):
    for table in (QUERIES, DAILY):
        filled.register(table, is_enabled=table not in off)
        filled.run(table, TODAY)

    assert figures().verdict == verdict


def test_where_nothing_was_refreshed_there_are_no_figures(filled, figures):
    assert figures().verdict == "No table is enabled"
    filled.register(QUERIES)

    shown = figures(days=7)

    assert shown.verdict == "No refresh in 7 days"
    assert (shown.success_rate, shown.pass_rate, shown.good_nights) == (None, None, 0)


# -- formatting ------------------------------------------------------------------------------------


@given(st.floats(0, 100))
def test_a_percentage_is_never_rounded_up_to_all(percentage):
    assert (formatting.format_percent(percentage) == "100 %") == (percentage == 100)


@given(st.integers(0, 10**8))
def test_a_span_is_exact_to_within_half_of_its_unit(seconds):
    number, _, unit = formatting.format_span(timedelta(seconds=seconds)).partition(" ")
    length = {"min": 60, "h": 3600, "days": 86_400}.get(unit)

    assert seconds < 60 if length is None else abs(int(number) * length - seconds) <= length / 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (9.96, "10.0 s"), (18.4, "18 s"), (150, "2 min"), (9_000, "2.5 h")],
)
def test_a_duration_reads_well(seconds, text):
    assert formatting.format_duration(seconds) == text
