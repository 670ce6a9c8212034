"""What operators do in SQL while a refresh is at work, and what it leaves behind."""

from collections.abc import Generator, Sequence

import psycopg
import pytest

from sqp_refresh.control import registry, writer
from sqp_refresh.control.writer import only_writer
from sqp_refresh.errors import Busy, Stopped
from sqp_refresh.extract import BigQueryFeed
from sqp_refresh.parts import Part
from sqp_refresh.postgres import connect
from sqp_refresh.refresh import Order, refresh
from sqp_refresh.tables import DAILY_SQP_DATA
from sqp_refresh.weeks import Period, weeks_between
from sqp_refresh_tests.nights import FIRST, LAST
from sqp_refresh_tests.test_refresh import three_weeks

WEEKS = list(weeks_between(FIRST, LAST))


class Interrupted(BigQueryFeed):
    """A feed during whose second week an operator runs a statement."""

    statement = ""

    def parts(self, periods: Sequence[Period]) -> Generator[Part]:
        for number, part in enumerate(super().parts(periods)):
            if number == 1:
                execute(self.settings.database_url, self.statement)
            yield part


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def rows(url: str, query: str) -> list[tuple]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


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
    feed = Interrupted(environment, DAILY_SQP_DATA, WEEKS)
    feed.statement = statement

    with pytest.raises(Stopped, match=message):
        refresh(environment.database_url, feed, Order("r"))

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
    feed = BigQueryFeed(environment, DAILY_SQP_DATA, WEEKS)

    refresh(environment.database_url, feed, Order("r"))

    ((name, status, data, last, total),) = rows(
        environment.database_url,
        "SELECT table_name, status, checkpoint_data, last_processed_row, total_rows"
        " FROM sqp.refresh_checkpoints",
    )
    assert (name, status, last, total) == ("daily_sqp_data", "completed", 6, 6)
    weeks = [str(week) for week in WEEKS]
    assert (data["run_id"], data["periods"], data["published"]) == ("r", weeks, weeks)
    assert data["resumes"] is None


def test_a_table_has_one_writer_at_a_time(environment, monkeypatch):
    monkeypatch.setattr(writer, "WAIT_S", 0.6)
    url = environment.database_url
    with only_writer(url, DAILY_SQP_DATA) as one:
        one.ensure()
        with only_writer(url, DAILY_SQP_DATA) as other, pytest.raises(Busy, match="another run"):
            other.ensure()
        one.ensure()
    with only_writer(url, DAILY_SQP_DATA) as other:
        other.ensure()


@pytest.mark.parametrize(
    ("due", "hours_later"), [("- interval '1 hour'", 23), ("- interval '50 hours'", 22)]
)
def test_the_next_refresh_keeps_its_slot_of_the_day(environment, due, hours_later):
    url = environment.database_url
    execute(url, f"UPDATE sqp.refresh_config SET next_refresh_at = now() {due}")

    with connect(url) as session, session.transaction():
        registry.mark_refreshed(session, DAILY_SQP_DATA, tick=None, is_newest=True)

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
        registry.mark_refreshed(session, DAILY_SQP_DATA, tick=None, is_newest=True)

    assert rows(url, query) == before
