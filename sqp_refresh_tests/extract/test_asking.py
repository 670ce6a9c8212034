"""A question is asked in a thread, so that there is time for something else until the answer."""

import subprocess
import sys
import threading

import pytest

from sqp_refresh.errors import Unavailable
from sqp_refresh.extract import BigQueryFeed
from sqp_refresh.extract.asking import asked
from sqp_refresh.postgres import connect
from sqp_refresh.tables import DAILY_SQP_DATA
from sqp_refresh.weeks import Period
from sqp_refresh_tests.nights import FIRST
from sqp_refresh_tests.rows import row

SOON_S = 20


def test_the_answer_is_waited_for_only_when_it_is_wanted():
    is_free = threading.Event()
    answer = asked(lambda: is_free.wait(SOON_S) and "five weeks")

    assert not answer.done()
    is_free.set()

    assert answer.result() == "five weeks"


def test_what_asking_raises_is_raised_as_it_is():
    def question():
        raise Unavailable("BigQuery cannot be reached")

    with pytest.raises(Unavailable, match="BigQuery cannot be reached"):
        asked(question).result()


def test_whoever_is_interrupted_does_not_wait_for_the_answer():
    program = (
        "import threading\n"
        "from sqp_refresh.extract.asking import asked\n"
        "asked(threading.Event().wait)\n"
        "raise KeyboardInterrupt\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SOON_S
    )

    assert "KeyboardInterrupt" in ended.stderr


def test_what_there_is_to_do_is_done_while_bigquery_counts(environment, source):
    source.write([row(day=FIRST)])
    asking = []

    def meanwhile():
        asking.append([one.name for one in threading.enumerate()].count("asking"))

    feed = BigQueryFeed(environment, DAILY_SQP_DATA, [Period.week_of(FIRST)], meanwhile=meanwhile)
    with connect(environment.database_url) as session:
        states = feed.states(session, feed.weeks)

    assert asking == [1]
    assert [state.rows for state in states.values()] == [1]
