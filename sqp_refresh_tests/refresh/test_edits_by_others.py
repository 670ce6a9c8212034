"""What somebody else writes while a period is loaded is never taken for what the refresh wrote."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from types import ModuleType

import psycopg
import pytest

from sqp_refresh import retrying
from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.control import table_lock
from sqp_refresh.errors import Rejected, Stopped, Transient
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.ledger.target_version import target_versions
from sqp_refresh.load import append, merge, upsert
from sqp_refresh.model.tables import DAILY_SQP_DATA, TABLES
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import read_tables, refresh_all
from sqp_refresh_tests.helpers.rows import Row, SourceTable
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, WEEKS, three_weeks

# A column of each table that no sum is compared of.
UNCOMPARED = {
    "asin_performance_data": "market_clicks",
    "search_query_performance": "search_query_volume",
    "search_performance_summary": "search_query_volume",
    "daily_sqp_data": "ctr",
    "weekly_summary": "ctr",
    "monthly_summary": "search_query_volume",
    "quarterly_summary": "cvr",
    "yearly_summary": "market_impressions",
}

FIRST_DAYS = {
    "monthly_summary": (date(2025, 7, 1), date(2025, 7, 31)),
    "quarterly_summary": (date(2025, 7, 1), date(2025, 9, 30)),
    "yearly_summary": (date(2025, 1, 1), date(2025, 12, 31)),
}
"""The first and the last day of the first period of the tables that have longer ones than weeks."""


@pytest.fixture
def url(environment: Settings, source: SourceTable, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database with three weeks in BigQuery, of which none is loaded."""
    monkeypatch.setattr(retrying, "LONGEST_PAUSE_S", 0)
    source.write(three_weeks())
    return environment.database_url


@contextmanager
def before_call(
    owner: ModuleType, function: str, act: Callable[[], None], times: int = 1
) -> Iterator[None]:
    """Do something before each of the first calls of a function."""
    original, left = getattr(owner, function), [None] * times

    def acting(*args, **named):
        if left:
            left.pop()
            act()
        return original(*args, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, function, acting)
        yield


def daily(settings: Settings, *, force: bool = False, run_id: str = "r") -> RefreshResult:
    source = BigQuerySource(settings, DAILY_SQP_DATA, WEEKS)
    return refresh(settings.database_url, source, RefreshRequest(run_id, force=force))


def assert_right(settings: Settings, source_rows: list[Row] | None = None) -> None:
    now = read_tables(settings)
    for table, expected in oracle.expected_tables(source_rows or three_weeks()).items():
        oracle.assert_equal(now[table], expected, table)


@contextmanager
def before_measuring(act: Callable[[str], None]) -> Iterator[list[str]]:
    """Do something before each table is first measured; returns the tables, in that order."""
    measured: list[str] = []
    original = merge.measure_period

    def measuring(session, table, period):
        if table.name not in measured:
            measured.append(table.name)
            act(table.name)
        return original(session, table, period)

    with pytest.MonkeyPatch.context() as patch:
        for module in (append, merge, upsert):
            patch.setattr(module, "measure_period", measuring)
        yield measured


def test_an_edit_between_the_comparison_and_the_measuring_is_mended(environment, url):
    refresh_all(environment)

    def edit(table: str) -> None:
        # What is derived from edited rows is written, and locked: the others are edited there.
        asin = "B000000002" if TABLES[table].source else "B000000001"
        execute(url, f"UPDATE sqp.{table} SET {UNCOMPARED[table]} = 5 WHERE asin = '{asin}'")

    with before_measuring(edit) as measured:
        refresh_all(environment, force=True)
    assert len(measured) == len(TABLES)

    refresh_all(environment)

    assert_right(environment)


def test_a_row_entered_while_a_week_is_first_loaded_is_removed(environment, url):
    def enter(table: str) -> None:
        days = FIRST_DAYS.get(table, (FIRST, WEEKS[0].end))
        values = dict.fromkeys(["start_date", "report_date", "period_start"], days[0])
        values |= dict.fromkeys(["end_date", "period_end"], days[1])
        # Not the key of a row that is derived from one that was entered: that is locked.
        values |= {"marketplace": "US", "asin": "B00NOBODYS", "search_query": table}
        entered = {c.name: values[c.name] for c in TABLES[table].columns if c.name in values}
        literals = ", ".join(f"'{value}'" for value in entered.values())
        execute(url, f"INSERT INTO sqp.{table} ({', '.join(entered)}) VALUES ({literals})")

    with before_measuring(enter) as measured:
        refresh_all(environment)
    assert len(measured) == len(TABLES)

    refresh_all(environment)

    assert_right(environment)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sqp.daily_sqp_data SET asin_clicks = 9",
        "DELETE FROM sqp.daily_sqp_data",
        f"UPDATE sqp.daily_sqp_data SET asin = 'B00NOBODYS' WHERE report_date = '{FIRST}'"
        " AND asin = 'B000000001'",
    ],
)
def test_a_row_that_somebody_writes_after_the_snapshot_is_compared_again(
    environment, source, url, statement
):
    daily(environment)
    restated = three_weeks(clicks=(542, 6))
    source.replace(restated)

    with before_call(table_lock, "require_enabled", lambda: execute(url, statement)):
        done = daily(environment, force=True)

    assert [str(week) for week in done.reloaded] == [str(FIRST)]
    daily(environment)
    expected = oracle.expected_tables(restated)["daily_sqp_data"]
    oracle.assert_equal(read_tables(environment)["daily_sqp_data"], expected, "daily_sqp_data")


def test_a_row_that_somebody_enters_under_the_same_key_is_compared_again(environment, url):
    key = f"(report_date, marketplace, asin) VALUES ('{FIRST}', 'US', 'B000000001')"
    entered = f"INSERT INTO sqp.daily_sqp_data {key}"

    with before_call(table_lock, "require_enabled", lambda: execute(url, entered)):
        done = daily(environment)

    assert (len(done.reloaded), done.counts.inserted, done.counts.updated) == (1, 5, 1)
    assert daily(environment).loaded == {}


def test_a_key_that_lasts_is_an_error_and_the_other_weeks_are_loaded(environment, url):
    execute(
        url,
        "CREATE UNIQUE INDEX ON sqp.daily_sqp_data (report_date)"
        f" WHERE report_date = '{WEEKS[0].start}'",
    )

    with pytest.raises(Rejected, match=r"is rejected in daily_sqp_data: .* duplicate key"):
        daily(environment)

    loaded = rows(url, "SELECT DISTINCT report_date FROM sqp.daily_sqp_data ORDER BY 1")
    assert loaded == [(week.start,) for week in WEEKS[1:]]


def test_a_refresh_gives_up_where_somebody_keeps_writing_to_its_rows(environment, source, url):
    daily(environment)
    source.replace(three_weeks(clicks=(542, 6)))
    edit = "UPDATE sqp.daily_sqp_data SET asin_clicks = asin_clicks + 1"

    with (
        before_call(table_lock, "require_enabled", lambda: execute(url, edit), times=1000),
        pytest.raises(Transient, match=r"sqp.daily_sqp_data 2025-07-27: somebody else keeps writ"),
    ):
        daily(environment)

    assert daily(environment).counts.updated == 6


@pytest.mark.parametrize("week", [1, len(WEEKS)])
def test_a_checkpoint_that_expires_after_the_snapshot_stops_the_refresh(environment, url, week):
    calls = []

    def expire() -> None:
        calls.append(1)
        if len(calls) == week:
            execute(
                url,
                "UPDATE sqp.refresh_checkpoints SET status = 'expired' WHERE status = 'active'",
            )

    with (
        before_call(table_lock, "require_enabled", expire, times=len(WEEKS)),
        pytest.raises(Stopped, match="the refresh was stopped"),
    ):
        daily(environment)

    loaded = rows(url, "SELECT DISTINCT report_date FROM sqp.daily_sqp_data ORDER BY 1")
    assert loaded == [(before.start,) for before in WEEKS[: week - 1]]


def test_a_table_that_is_disabled_while_a_publisher_waits_is_not_written(environment, url):
    raised: list[BaseException] = []

    def publish() -> None:
        try:
            daily(environment)
        except Stopped as error:
            raised.append(error)

    with psycopg.connect(url) as other:
        key = f"sqp.daily_sqp_data {WEEKS[0]}"
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [key])
        thread = threading.Thread(target=publish)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while rows(url, waiting) == [(0,)]:
            time.sleep(0.02)
        execute(url, "UPDATE sqp.refresh_config SET is_enabled = false")
    thread.join()

    assert "is disabled" in str(raised[0])
    assert rows(url, "SELECT count(*) FROM sqp.daily_sqp_data") == [(0,)]


def test_a_failed_check_of_sums_has_the_period_compared_whole(environment, url):
    refresh_all(environment)
    execute(url, f"UPDATE sqp.daily_sqp_data SET asin_clicks = 9 WHERE report_date = '{FIRST}'")
    with connect(url) as session, session.transaction():
        # An earlier release may have taken the edit for its own.
        taken = target_versions(session, DAILY_SQP_DATA, WEEKS[:1])[WEEKS[0]]
        session.execute(
            "UPDATE sqp.refresh_periods SET target_state = %(state)s"
            " WHERE table_name = 'daily_sqp_data' AND period_start = %(start)s",
            {"state": taken.to_text(), "start": FIRST},
        )
    assert daily(environment).loaded == {}

    with connect(url) as session, session.transaction():
        run_checks(session, DAILY_SQP_DATA, None, today=LAST)

    assert list(daily(environment).periods) == WEEKS[:1]
    assert_right(environment)
    assert daily(environment).loaded == {}
