"""What a refresh makes of one that was interrupted, and what it leaves for the next."""

import json
from collections.abc import Generator, Iterable, Sequence

import psycopg
import pytest

from sqp_refresh.control import audit_log
from sqp_refresh.control.table_lock import table_lock
from sqp_refresh.errors import DataError, Unavailable
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, WEEKS, three_weeks


class PowerCut(BaseException):
    """What ends a process without asking it."""


class BreaksOff(BigQuerySource):
    """A source during whose second week the power is cut."""

    error: type[BaseException] = PowerCut

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        for number, part in enumerate(super().read(periods)):
            if number == 1:
                raise self.error("in the second week")
            yield part


class BreaksOffOnce(BreaksOff):
    """A source that is interrupted at its first attempt only."""

    error = Unavailable
    attempts = 0

    def read(self, periods: Iterable[Period]) -> Generator[PeriodRows]:
        type(self).attempts += 1
        yield from (
            super().read(periods) if self.attempts == 1 else BigQuerySource.read(self, periods)
        )


@pytest.fixture
def url(environment, source) -> str:
    source.write(three_weeks())
    return environment.database_url


def refreshed(
    settings, run_id: str, *, weeks: Sequence[Period] = WEEKS, force=False
) -> RefreshResult:
    interrupted_source = BigQuerySource(settings, SEARCH_QUERY_PERFORMANCE, weeks)
    return refresh(settings.database_url, interrupted_source, RefreshRequest(run_id, force=force))


def break_off(settings, *, force: bool = False) -> None:
    """Publish the first week and die; nothing is closed then, neither row nor checkpoint."""
    interrupted_source = BreaksOff(settings, SEARCH_QUERY_PERFORMANCE, WEEKS)
    with pytest.raises(PowerCut):
        refresh(settings.database_url, interrupted_source, RefreshRequest("dead", force=force))
    execute(
        settings.database_url,
        "UPDATE sqp.refresh_audit_log SET status = 'running', refresh_completed_at = NULL,"
        " error_message = NULL, error_details = NULL WHERE sync_metadata->>'run_id' = 'dead'",
    )


def copied(summary: RefreshResult) -> list[Period]:
    return list(summary.periods)


def test_another_run_goes_on_at_the_first_week_not_published(environment, url):
    break_off(environment)

    summary = refreshed(environment, "next")

    assert copied(summary) == WEEKS[1:]
    assert summary.resumes == "dead"
    ((status, data, last, total),) = rows(
        url,
        "SELECT status, checkpoint_data, last_processed_row, total_rows"
        " FROM sqp.refresh_checkpoints",
    )
    assert (status, last, total) == ("completed", 12, 12)
    assert data["published"] == [str(week) for week in WEEKS]
    assert (data["run_id"], data["resumes"]) == ("next", "dead")


INDEXES = "SELECT indexdef FROM pg_indexes WHERE tablename = 'search_query_performance' ORDER BY 1"


def test_a_first_load_that_broke_off_gets_its_indexes_once_it_is_gone_on_from(environment, url):
    before = rows(url, INDEXES)

    break_off(environment)
    between = rows(url, INDEXES)
    refreshed(environment, "next")

    assert len(between) == 1
    assert "UNIQUE" in str(between)
    assert rows(url, INDEXES) == before


def test_a_first_load_that_fails_gets_its_indexes_all_the_same(environment, url):
    class Fails(BreaksOff):
        error = DataError

    before = rows(url, INDEXES)

    with pytest.raises(DataError, match="in the second week"):
        refresh(url, Fails(environment, SEARCH_QUERY_PERFORMANCE, WEEKS), RefreshRequest("fails"))

    assert rows(url, INDEXES) == before


def test_an_index_that_cannot_be_built_fails_no_refresh(environment, url, caplog):
    execute(
        url,
        "INSERT INTO sqp.refresh_indexes (table_name, index_name, column_names)"
        " VALUES ('search_query_performance', 'of_what_is_gone', '{gone}')",
    )

    assert copied(refreshed(environment, "next")) == WEEKS
    assert "search_query_performance is without of_what_is_gone: " in caplog.text
    assert len(rows(url, INDEXES)) == 3


def test_a_table_that_somebody_reads_is_loaded_with_its_indexes(environment, url):
    with psycopg.connect(url) as reader:
        reader.execute("SELECT FROM sqp.search_query_performance")

        assert copied(refreshed(environment, "next")) == WEEKS


def test_a_forced_run_is_gone_on_from_and_not_begun_anew(environment, url):
    refreshed(environment, "before")
    break_off(environment, force=True)

    assert copied(refreshed(environment, "next", force=True)) == WEEKS[1:]


def test_a_forced_run_does_not_go_on_from_one_that_was_not(environment, url):
    break_off(environment)

    assert copied(refreshed(environment, "next", force=True)) == WEEKS


def test_a_run_of_other_weeks_leaves_nothing_out(environment, url):
    break_off(environment)

    assert copied(refreshed(environment, "one", weeks=WEEKS[:2])) == WEEKS[1:2]
    assert copied(refreshed(environment, "all")) == WEEKS[2:]


def test_a_week_that_changed_since_it_was_published_is_copied_again(environment, source, url):
    break_off(environment)
    source.replace(three_weeks(volume=801))

    assert copied(refreshed(environment, "next")) == WEEKS


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE sqp.refresh_checkpoints SET status = 'expired' WHERE status = 'active'",
        "UPDATE sqp.refresh_checkpoints SET expires_at = now() - interval '1 second'",
    ],
)
def test_an_expired_checkpoint_is_not_gone_on_from(environment, url, statement):
    refreshed(environment, "before")
    break_off(environment, force=True)
    execute(url, statement)

    summary = refreshed(environment, "next", force=True)

    assert (copied(summary), summary.resumes) == (WEEKS, None)
    assert rows(url, "SELECT count(*) FROM sqp.refresh_checkpoints WHERE status = 'active'") == [
        (0,)
    ]


def test_while_it_works_a_checkpoint_tells_how_much_there_is_and_until_when(environment, url):
    break_off(environment)

    ((last, total, hours, status),) = rows(
        url,
        "SELECT last_processed_row, total_rows,"
        " round(extract(epoch FROM expires_at - now()) / 3600), status"
        " FROM sqp.refresh_checkpoints",
    )
    assert (last, total, hours, status) == (4, 12, 24, "active")


def test_the_next_refresh_closes_the_row_of_one_that_died(environment, url):
    break_off(environment)

    refreshed(environment, "next")

    log = rows(
        url,
        "SELECT status, error_message, error_details, sync_metadata->'weeks'"
        " FROM sqp.refresh_audit_log ORDER BY id",
    )
    (status, message, details, weeks), (next_status, *_) = log
    assert (status, next_status) == ("failed", "success")
    assert message.startswith("its process ended without a word after 1 published periods")
    assert details == {"type": "ProcessLost", "kind": "transient", "retryable": True}
    assert weeks == [str(FIRST)]


def test_the_row_of_a_refresh_that_lives_is_left_open(environment, url):
    break_off(environment)
    with table_lock(url, SEARCH_QUERY_PERFORMANCE) as alive:
        alive.acquire()
        with connect(url) as session, session.transaction():
            assert audit_log.close_lost_runs(session) == []

    with connect(url) as session, session.transaction():
        assert audit_log.close_lost_runs(session) == ["search_query_performance"]
        assert audit_log.close_lost_runs(session) == []


def test_what_is_transient_is_tried_again_in_the_same_run(environment, url):
    interrupted_source = BreaksOffOnce(environment, SEARCH_QUERY_PERFORMANCE, WEEKS)

    summary = refresh(url, interrupted_source, RefreshRequest("r"))

    assert copied(summary) == WEEKS
    assert interrupted_source.attempts == 2
    log = rows(
        url, "SELECT status, rows_inserted, sync_metadata->'weeks' FROM sqp.refresh_audit_log"
    )
    assert log == [("success", 12, [str(week) for week in WEEKS])]


def test_an_audit_row_says_why_each_week_was_copied(environment, source, url):
    refreshed(environment, "first", weeks=WEEKS[:2])
    changed = [dict(line, **{"Search Query Volume": 5}) for line in three_weeks()[:4]]
    source.replace(changed + three_weeks()[4:])

    summary = refreshed(environment, "second")

    assert summary.rows == 12
    (metadata,) = rows(
        url, "SELECT sync_metadata FROM sqp.refresh_audit_log ORDER BY id DESC LIMIT 1"
    )[0]
    assert metadata["reasons"] == {
        str(FIRST): "the source changed",
        str(MIDDLE): "unchanged",
        str(LAST): "never published",
    }
    assert (metadata["weeks"], metadata["skipped"]) == ([str(FIRST), str(LAST)], [str(MIDDLE)])


def test_a_run_that_was_taken_over_publishes_nothing_more(environment, url):
    with connect(url) as session, psycopg.connect(url) as other:
        from sqp_refresh.control import checkpoints
        from sqp_refresh.errors import Stopped

        with session.transaction():
            checkpoint = checkpoints.begin(
                session,
                SEARCH_QUERY_PERFORMANCE,
                run_id="ours",
                periods=WEEKS,
                rows=12,
                forced=False,
                resumed=None,
            )
        taken = json.dumps({"run_id": "theirs"})
        other.execute(
            "UPDATE sqp.refresh_checkpoints SET checkpoint_data = checkpoint_data || %s::jsonb",
            [taken],
        )
        other.commit()
        with pytest.raises(Stopped, match="another run has taken it over"), session.transaction():
            checkpoints.save(session, checkpoint, WEEKS[0], rows=4)
