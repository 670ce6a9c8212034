"""No transaction stands idle while BigQuery answers, whoever has asked it."""

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from sqp_refresh.defs.run_requests.restated import request_restated_weeks
from sqp_refresh.postgres.session import connect
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.settings import Settings
from sqp_refresh_tests.faults.proxies import Fault, Trouble
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST

ANSWERS_AFTER_S = 0.2
# Whoever holds an advisory lock is no idler: the lock of a table is an open transaction, and a
# period is written while the next one is read.
IDLE = f"""
SELECT query FROM pg_stat_activity
WHERE datname = current_database() AND state LIKE 'idle in transaction%'
    AND state_change < clock_timestamp() - interval '{ANSWERS_AFTER_S / 2} s'
    AND pid NOT IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')
"""


@pytest.fixture(autouse=True)
def _impatient() -> None:
    """Leave the deadlines as they are: here, nothing is to be given up."""


class SlowAnswers(Trouble):
    """Lets each request wait, and notes the transactions that stand idle meanwhile."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.requests = 0
        self.idle: set[tuple[str]] = set()
        self._url = url

    def strikes(self, request: str) -> Fault | None:
        time.sleep(ANSWERS_AFTER_S)
        self.requests += 1
        self.idle |= set(rows(self._url, IDLE))
        return None


def find_restated_weeks(settings: Settings) -> None:
    with connect(settings.database_url) as session:
        request_restated_weeks(session, settings, read_catalog(settings), datetime.now(UTC))


def register(settings: Settings) -> None:
    columns = "asin text PRIMARY KEY, brand text"
    execute(settings.database_url, f"CREATE TABLE sqp.brands ({columns})")
    titles = ("--column", "Child ASIN=asin", "--column", "Client Name=brand")
    source = settings.BIGQUERY_SOURCE_TABLE
    output("register", "brands", "--source", source, "--key", "asin", *titles)


WEEKS = ("--from", str(FIRST), "--to", str(LAST))
PATHS: dict[str, Callable[[Settings], object]] = {
    "plan": lambda _: output("plan", *WEEKS),
    "refresh": refresh_all,
    "sensor": find_restated_weeks,
    "register": register,
    "doctor": lambda _: sqp_refresh("doctor"),
}


@pytest.mark.parametrize("path", PATHS)
def test_no_transaction_stands_idle_while_bigquery_answers(rest, storage_read, environment, path):
    answers = SlowAnswers(environment.database_url)
    rest.trouble = storage_read.trouble = answers

    PATHS[path](Settings.read())

    assert answers.requests
    assert answers.idle == set()
