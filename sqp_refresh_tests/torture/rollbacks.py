"""Kill a rollback at any moment: each week is as it was before, or as was asked."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from urllib.parse import urlsplit

import psycopg

from sqp_refresh_tests.helpers.database import database_like
from sqp_refresh_tests.helpers.history import Copy, Keys, copy_of, publish
from sqp_refresh_tests.torture.rack import ENDS_WITHIN_S, LONGEST_DELAY_S, Kill

QUERIES = "search_query_performance"
STAMPS = ("created_at", "updated_at")
NOT_CLOSED = """
SELECT (SELECT count(*) FROM sqp.refresh_checkpoints WHERE status = 'active'),
    (SELECT count(*) FROM sqp.refresh_audit_log WHERE refresh_completed_at IS NULL)
"""
PINNED = "SELECT period_start FROM sqp.refresh_pins WHERE table_name = 'search_query_performance'"


@dataclass(slots=True)
class RollbackRack:
    """A database with weeks that were published twice, which is copied afresh for each kill.

    Attributes:
        server: URL of Postgres, as its superuser.
        template: Name of that database.
        at: An instant between the two.
        before: What the tables hold.
        asked: What they held then.
        moments: How often each moment comes in an undisturbed rollback.
    """

    server: str
    template: str
    at: datetime
    before: Copy
    asked: Copy
    moments: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, server: str, url: str, first: date, weeks: int, keys: int) -> "RollbackRack":
        """Publish weeks twice in a migrated database, and roll them back undisturbed."""
        sundays = [first + timedelta(weeks=number) for number in range(weeks)]
        asked = publish(url, {sunday: _keys(keys, 1) for sunday in sundays})
        publish(url, {sunday: _keys(keys - 1, 2) for sunday in sundays})
        template = urlsplit(url).path.removeprefix("/")
        before = copy_of(url, without=STAMPS)
        rack = cls(server, template, asked.at, before, _without_stamps(asked.held))
        with rack.database() as copied:
            rack.moments = json.loads(rack._run(copied))
            assert weeks_of(copy_of(copied, without=STAMPS)) == weeks_of(rack.asked)
        return rack

    def choose(self, chance: random.Random) -> Kill:
        """Choose a moment, and how long after it."""
        moment = chance.choice(sorted(name for name, times in self.moments.items() if times))
        number = chance.randint(1, self.moments[moment])
        return Kill(moment, number, chance.uniform(0, LONGEST_DELAY_S))

    def survive(self, kill: Kill) -> int | None:
        """Kill a rollback, look at each week, run it again, and look at everything.

        Returns:
            How many weeks were published before the kill; None if it ended before.

        Raises:
            AssertionError: a week is neither as before nor as asked, or the log is not closed.
        """
        with self.database() as url:
            if not self._killed(url, kill):
                return None
            before, asked = weeks_of(self.before), weeks_of(self.asked)
            now, pinned = weeks_of(copy_of(url, without=STAMPS)), _pinned(url)
            for week, rows in now.items():
                expected = asked if week in pinned else before
                assert rows == expected[week], f"the week of {week} is neither of both"
            self._run(url)
            after = copy_of(url, without=STAMPS)
            assert {period: after[period] for period in self.asked} == self.asked
            with psycopg.connect(url) as connection:
                assert connection.execute(NOT_CLOSED).fetchall() == [(0, 0)]
            assert _pinned(url) == asked.keys()
            return len(pinned)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Create a copy of the database, and drop it at the end."""
        with database_like(self.server, self.template) as url:
            yield url

    def _killed(self, url: str, kill: Kill) -> bool:
        with self._start(url, kill.moment, str(kill.number)) as process:
            assert process.stdout
            try:
                assert process.stdout.readline() == "now\n"
                time.sleep(kill.delay_s)
            finally:
                process.kill()
            return process.wait() != 0

    def _run(self, url: str) -> str:
        with self._start(url) as process:
            output, errors = process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 0, errors
        return output

    def _start(self, url: str, *moment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "sqp_refresh_tests.torture.rollback_victim"]
        return subprocess.Popen(
            [*command, self.at.isoformat(), *moment],
            env={**os.environ, "DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def weeks_of(copy: Copy) -> dict[date, list]:
    """Return the weeks of search_query_performance."""
    return {first: rows for (table, first), rows in copy.items() if table == QUERIES}


def _keys(number: int, clicks: int) -> Keys:
    return {f"query {key}": (clicks, key % 2) for key in range(number)}


def _without_stamps(copy: Copy) -> Copy:
    return {
        period: [{name: row[name] for name in row if name not in STAMPS} for row in rows]
        for period, rows in copy.items()
    }


def _pinned(url: str) -> set[date]:
    with psycopg.connect(url) as connection:
        return {first for (first,) in connection.execute(PINNED).fetchall()}
