"""Seven nights in a row as they come: weeks late, restated and empty, and nobody at work."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg
import psycopg
import pytest

from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres.session import Session
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.code_location import code_location
from sqp_refresh_tests.helpers.database import execute
from sqp_refresh_tests.helpers.nights import read_tables, refresh_all
from sqp_refresh_tests.helpers.rows import Row, SourceTable, row

JULY_13, JULY_27, AUGUST_3, AUGUST_10, AUGUST_17 = (
    date(2025, 7, 13) + timedelta(weeks=weeks) for weeks in (0, 2, 3, 4, 5)
)
MONDAY = datetime(2025, 8, 18, 2, tzinfo=UTC)
Weeks = dict[date, list[Row]]


def delivered(week: date, volume: int = 800) -> list[Row]:
    return [
        row(day=week, asin=asin, query=query, volume=volume)
        for asin in ("B000000001", "B000000002")
        for query in ("blue widget", "red widget")
    ]


class Vendor:
    """What the source holds, and what the tables must hold: a week gone empty stays there."""

    def __init__(self, source: SourceTable) -> None:
        self._source = source
        self._weeks: Weeks = {}
        self._kept: Weeks = {}

    def deliver(self, changes: Weeks) -> None:
        self._weeks |= changes
        self._kept |= {week: rows for week, rows in changes.items() if rows}
        self._source.replace([row for rows in self._weeks.values() for row in rows])

    @property
    def expected(self) -> dict[str, oracle.Rows]:
        return oracle.expected_tables([row for rows in self._kept.values() for row in rows])


@pytest.fixture
def vendor(source: SourceTable, environment: Settings) -> Vendor:
    """Has delivered a week in July, which was refreshed."""
    vendor = Vendor(source)
    vendor.deliver({JULY_13: delivered(JULY_13)})
    refresh_all(environment, JULY_13, JULY_13)
    return vendor


@pytest.fixture
def launched(monkeypatch, environment) -> Iterator[Callable[[datetime], int]]:
    """Evaluates the schedule, and an hour later each sensor, and launches what they request."""
    monkeypatch.setenv("REFRESH_LOOKBACK_WEEKS", "3")
    with dg.DagsterInstance.ephemeral() as instance:

        def launch(request: dg.RunRequest) -> None:
            job = code_location().resolve_job_def("daily_refresh")
            done = job.execute_in_process(
                instance=instance,
                tags=dict(request.tags),
                asset_selection=list(request.asset_selection or ()),
            )
            assert done.success

        def night(tick: datetime) -> int:
            # What is done in SQL goes by another clock, by which the next slot is years later.
            due = f"UPDATE sqp.refresh_config SET next_refresh_at = '{tick}'"
            execute(environment.database_url, due)
            monkeypatch.setattr(Session, "now", lambda _: tick + timedelta(hours=1))
            schedule = code_location().resolve_schedule_def("daily_refresh_schedule")
            context = dg.build_schedule_context(instance=instance, scheduled_execution_time=tick)
            requests = list(schedule.evaluate_tick(context).run_requests or ())
            for request in requests:
                launch(request)
            for name in ("overdue_refreshes", "failed_refreshes", "restated_weeks"):
                sensor = code_location().resolve_sensor_def(name)
                context = dg.build_sensor_context(instance=instance, definitions=code_location())
                of_sensor = sensor.evaluate_tick(context).run_requests or ()
                for request in of_sensor:
                    launch(request)
                requests += of_sensor
            return len(requests)

        yield night


def logged(url: str, since: int) -> tuple[int, dict[str, list[str]], set[tuple[str, str]]]:
    """The newest id, the weeks of queries copied by a run, and each table's statuses."""
    with psycopg.connect(url) as connection:
        entries = connection.execute(
            "SELECT id, table_name, status, sync_metadata->>'run_id', sync_metadata->'weeks'"
            " FROM sqp.refresh_audit_log WHERE id > %s ORDER BY id",
            (since,),
        ).fetchall()
    copied = {run: weeks for _, table, _, run, weeks in entries if table == QUERIES}
    return entries[-1][0], copied, {(table, status) for _, table, status, *_ in entries}


QUERIES = "search_query_performance"
RESTATED = 1_200

# What the vendor does before each night, and the weeks that each of its runs then copies.
NIGHTS: list[tuple[str, Weeks, list[list[date]]]] = [
    (
        "two weeks are there, and the third, which is late, is on record as empty",
        {JULY_27: delivered(JULY_27), AUGUST_3: delivered(AUGUST_3)},
        [[JULY_27, AUGUST_3, AUGUST_10]],
    ),
    ("nothing is new", {}, [[]]),
    ("the late week arrives", {AUGUST_10: delivered(AUGUST_10)}, [[AUGUST_10]]),
    ("a week is restated", {AUGUST_3: delivered(AUGUST_3, RESTATED)}, [[AUGUST_3]]),
    ("a week is empty, and its rows are kept", {AUGUST_3: []}, [[AUGUST_3]]),
    (
        "it is back, and one before the look-back is restated",
        {AUGUST_3: delivered(AUGUST_3), JULY_13: delivered(JULY_13, RESTATED)},
        [[AUGUST_3], [JULY_13]],
    ),
    ("the next week has ended", {AUGUST_17: delivered(AUGUST_17)}, [[AUGUST_17]]),
]


@pytest.mark.timeout(400)
def test_seven_nights_copy_the_right_weeks_and_only_those(vendor, launched, environment):
    newest, _, _ = logged(environment.database_url, 0)

    for number, (story, changes, copied) in enumerate(NIGHTS):
        if changes:
            vendor.deliver(changes)
        runs = launched(MONDAY + timedelta(days=number))
        newest, by_run, statuses = logged(environment.database_url, newest)

        expected = [[str(week) for week in weeks] for weeks in copied]
        assert list(by_run.values()) == expected, story
        assert runs == len(copied), story
        assert {table for table, _ in statuses} == set(TABLES), story
        warned = {QUERIES} if not all(changes.values()) else set()
        assert warned <= {table for table, status in statuses if status == "warning"}, story
        assert {status for _, status in statuses} <= {"success", "warning"}, story
        now = read_tables(environment)
        for table, rows in vendor.expected.items():
            oracle.assert_equal(now[table], rows, f"{table} when {story}")
