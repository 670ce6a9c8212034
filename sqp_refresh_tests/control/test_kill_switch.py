"""Test what operators do in SQL while a refresh is at work, and what it leaves behind."""

import os
import socket
from collections.abc import Generator, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from sqp_refresh.control import table_lock as table_lock_module
from sqp_refresh.control.table_lock import table_lock
from sqp_refresh.errors import Busy, NotFound, SettingsError, Stopped
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows
from sqp_refresh.model.tables import ASIN_PERFORMANCE_DATA, DAILY_SQP_DATA, Dependency
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.registry import refresh_config
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.progress import wait_until_published
from sqp_refresh_tests.helpers.weeks import FIRST, WEEKS, three_weeks


class Stepwise(BigQuerySource):
    """A source that reads a week once the one before is published, and not ahead."""

    def between(self, published: int) -> None:
        """Do something once so many weeks are published."""

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        for number, part in enumerate(super().read(periods)):
            wait_until_published(self.settings.database_url, self.table.name, number)
            self.between(number)
            yield part


class RunsStatement(Stepwise):
    """A source before whose second week an operator runs a statement."""

    statement = ""

    def between(self, published: int) -> None:
        if published == 1:
            execute(self.settings.database_url, self.statement)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE sqp.refresh_config SET is_enabled = false", "is disabled"),
        (
            "UPDATE sqp.refresh_checkpoints SET status = 'expired' WHERE status = 'active'",
            "the refresh was stopped",
        ),
    ],
)
def test_both_kill_switches_stop_a_refresh_at_the_next_week(
    environment, source, statement, message
):
    source.write(three_weeks())
    bigquery = RunsStatement(environment, DAILY_SQP_DATA, WEEKS)
    bigquery.statement = statement

    with pytest.raises(Stopped, match=message):
        refresh(environment.database_url, bigquery, RefreshRequest("r"))

    url = environment.database_url
    assert rows(url, "SELECT DISTINCT report_date FROM sqp.daily_sqp_data") == [(FIRST,)]
    ((status, inserted, error, weeks),) = rows(
        url,
        "SELECT status, rows_inserted, error_message, sync_metadata->'weeks'"
        " FROM sqp.refresh_audit_log",
    )
    assert (status, inserted, weeks) == ("failed", 2, [str(FIRST)])
    assert message in error


def test_a_checkpoint_tells_how_far_a_refresh_has_got(environment, source):
    source.write(three_weeks())
    bigquery = BigQuerySource(environment, DAILY_SQP_DATA, WEEKS)

    refresh(environment.database_url, bigquery, RefreshRequest("r"))

    ((name, status, data, last, total),) = rows(
        environment.database_url,
        "SELECT table_name, status, checkpoint_data, last_processed_row, total_rows"
        " FROM sqp.refresh_checkpoints",
    )
    assert (name, status, last, total) == ("daily_sqp_data", "completed", 6, 6)
    weeks = [str(week) for week in WEEKS]
    assert (data["run_id"], data["periods"], data["published"]) == ("r", weeks, weeks)
    assert data["resumes"] is None


def test_a_table_is_locked_by_one_refresh_at_a_time(environment, monkeypatch):
    monkeypatch.setattr(table_lock_module, "WAIT_S", 0.6)
    url = environment.database_url
    with table_lock(url, DAILY_SQP_DATA) as lock:
        lock.acquire()
        with table_lock(url, DAILY_SQP_DATA) as other, pytest.raises(Busy, match="another run"):
            other.acquire()
        lock.acquire()
    with table_lock(url, DAILY_SQP_DATA) as other:
        other.acquire()


@pytest.mark.parametrize(
    ("due", "hours_later"), [("- interval '1 hour'", 23), ("- interval '50 hours'", 22)]
)
def test_the_next_refresh_keeps_its_slot_of_the_day(environment, due, hours_later):
    url = environment.database_url
    execute(url, f"UPDATE sqp.refresh_config SET next_refresh_at = now() {due}")

    with connect(url) as session, session.transaction():
        refresh_config.mark_refreshed(session, DAILY_SQP_DATA, tick=None, is_newest=True)

    ((hours,),) = rows(
        url,
        "SELECT round(extract(epoch FROM next_refresh_at - now()) / 3600)::integer"
        " FROM sqp.refresh_config WHERE table_name = 'daily_sqp_data'",
    )
    assert hours == hours_later


def test_a_refresh_that_is_not_due_yet_does_not_move_the_slot(environment):
    url = environment.database_url
    query = "SELECT next_refresh_at FROM sqp.refresh_config WHERE table_name = 'daily_sqp_data'"
    before = rows(url, query)

    with connect(url) as session, session.transaction():
        refresh_config.mark_refreshed(session, DAILY_SQP_DATA, tick=None, is_newest=True)

    assert rows(url, query) == before


@pytest.mark.parametrize(("hour", "frequency", "next_hour"), [(2, 24, 2), (1, 24, 2), (2, 6, 8)])
def test_after_a_night_the_next_is_a_frequency_after_its_tick(
    environment, hour, frequency, next_hour
):
    url = environment.database_url
    tick = datetime.now(UTC).replace(hour=2, minute=0, second=0, microsecond=0)
    tick -= timedelta(days=datetime.now(UTC) < tick)
    # Whatever the time is now, only hours since the tick count.
    frequency_passed = int((datetime.now(UTC) - tick).total_seconds() // (3600 * frequency))
    due = tick.replace(hour=hour, minute=0) - timedelta(minutes=hour < 2)
    execute(
        url,
        f"UPDATE sqp.refresh_config SET refresh_frequency_hours = {frequency},"
        f" next_refresh_at = '{due}'",
    )

    with connect(url) as session, session.transaction():
        refresh_config.mark_refreshed(session, DAILY_SQP_DATA, tick=tick, is_newest=True)

    expected = tick + timedelta(hours=frequency * (1 + frequency_passed))
    query = "SELECT next_refresh_at FROM sqp.refresh_config WHERE table_name = 'daily_sqp_data'"
    assert rows(url, query) == [(expected,)]


def test_a_repair_of_old_weeks_leaves_the_night_as_due_as_it_was(environment, source):
    source.write(three_weeks())
    url = environment.database_url
    execute(url, "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 hour'")
    query = "SELECT next_refresh_at > now() FROM sqp.refresh_config ORDER BY id LIMIT 4"
    bigquery = BigQuerySource(environment, DAILY_SQP_DATA, WEEKS)
    refresh(url, bigquery, RefreshRequest("all"))
    assert rows(url, query)[3] == (True,)
    execute(url, "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 hour'")

    refresh(url, BigQuerySource(environment, DAILY_SQP_DATA, WEEKS[:1]), RefreshRequest("old"))

    assert rows(url, query)[3] == (False,)


def test_a_table_over_its_time_budget_is_marked_while_it_goes_on(environment, source):
    source.write(three_weeks())
    url = environment.database_url
    seen = []

    class Watched(Stepwise):
        def between(self, published: int) -> None:
            seen.extend(rows(url, "SELECT status, error_message FROM sqp.refresh_audit_log"))

    summary = refresh(
        url, Watched(environment, DAILY_SQP_DATA, WEEKS), RefreshRequest("r", budget_ms=1)
    )

    message = "it took longer than 1 ms, which REFRESH_TIMEOUT_WARNING_MS allows"
    assert seen == [("running", None), *[("warning", f"{message}; it goes on")] * 2]
    assert len(summary.periods) == 3
    assert summary.outcome == {"status": "warning", "error_message": message}
    finished = "SELECT status, error_message, refresh_completed_at IS NOT NULL, rows_inserted"
    assert rows(url, f"{finished} FROM sqp.refresh_audit_log") == [("warning", message, True, 6)]


def test_the_second_refresh_of_a_table_says_who_holds_it(environment, source, monkeypatch):
    source.write(three_weeks())
    monkeypatch.setattr(table_lock_module, "WAIT_S", 0.6)
    url = environment.database_url
    refused = []

    class StartsAnother(Stepwise):
        def between(self, published: int) -> None:
            if published == 1:
                with pytest.raises(Busy) as error:
                    second = BigQuerySource(environment, DAILY_SQP_DATA, WEEKS)
                    refresh(url, second, RefreshRequest("second"))
                refused.append(str(error.value))

    refresh(url, StartsAnother(environment, DAILY_SQP_DATA, WEEKS), RefreshRequest("first"))

    assert refused[0].startswith(
        f"sqp.daily_sqp_data is being refreshed by run first ({socket.gethostname()}, process "
        f"{os.getpid()}), which has published 1 of 3 periods; wait for it"
    )
    log = rows(
        url,
        "SELECT sync_metadata->>'run_id', status, error_message FROM sqp.refresh_audit_log"
        " ORDER BY id",
    )
    assert log == [("first", "success", None), ("second", "failed", refused[0])]


@pytest.mark.parametrize("limit", ["idle_in_transaction_session_timeout", "transaction_timeout"])
def test_no_limit_of_the_user_ends_the_transaction_of_a_lock(migrated_database, limit):
    name = urlsplit(migrated_database).path.removeprefix("/")
    execute(migrated_database, f"ALTER DATABASE {name} SET {limit} = '5s'")

    with table_lock(migrated_database, DAILY_SQP_DATA) as lock:
        lock.acquire()
        assert lock._session
        query = "SELECT current_setting(%(limit)s)"
        assert lock._session.fetch_one(query, {"limit": limit}) == ("0",)

    assert rows(migrated_database, f"SHOW {limit}") == [("5s",)]


def test_sync_params_in_the_registry_take_effect_at_the_next_run(environment, source):
    source.write(three_weeks())
    url = environment.database_url
    execute(
        url,
        "UPDATE sqp.refresh_config SET custom_sync_params ="
        """ '{"batch_size": 2, "lookback_weeks": 1}' WHERE table_name = 'daily_sqp_data'""",
    )
    bigquery = BigQuerySource(environment, DAILY_SQP_DATA, WEEKS)

    summary = refresh(url, bigquery, RefreshRequest("night", tick=datetime.now(UTC)))

    assert bigquery.batch_size == 2
    assert list(summary.periods) == WEEKS[-1:]


def test_a_malformed_sync_param_is_named(environment, source):
    source.write(three_weeks())
    url = environment.database_url
    execute(url, """UPDATE sqp.refresh_config SET custom_sync_params = '{"batch_size": -1}'""")

    with pytest.raises(SettingsError, match=r"custom_sync_params of sqp.daily_sqp_data .*batch_si"):
        refresh(url, BigQuerySource(environment, DAILY_SQP_DATA, WEEKS), RefreshRequest("r"))


def test_a_soft_parent_that_failed_is_a_warning(environment, source):
    source.write(three_weeks())
    url = environment.database_url
    soft = replace(DAILY_SQP_DATA, parents={"asin_performance_data": Dependency.SOFT})
    broken = BigQuerySource(
        environment.model_copy(update={"BIGQUERY_SOURCE_TABLE": "nowhere"}),
        ASIN_PERFORMANCE_DATA,
        WEEKS,
    )
    with pytest.raises(NotFound):
        refresh(url, broken, RefreshRequest("r"))

    summary = refresh(url, BigQuerySource(environment, soft, WEEKS), RefreshRequest("r"))

    assert summary.counts.inserted == 6
    assert summary.warnings == [
        "asin_performance_data, which it needs where it can, failed; its rows are those of before"
    ]
