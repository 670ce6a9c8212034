"""Kill a refresh, run once more, and check the tables and the log afterwards."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from sqp_refresh.model.tables import SCHEMA, TABLES
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.rows import Row
from sqp_refresh_tests.torture.victim import MOMENTS

ANYWHERE = "anywhere"
LONGEST_DELAY_S = 0.03
ENDS_WITHIN_S = 300

Fingerprints = dict[str, tuple[int, str]]
TablePeriod = tuple[str, str]
"""Table and first day of a period."""


@dataclass(frozen=True, slots=True)
class Kill:
    """When a process is killed: so many seconds after the nth time of a moment.

    Attributes:
        moment: One of `MOMENTS`, or `ANYWHERE`.
        number: Which time of the moment; 0 for `ANYWHERE`.
        delay_s: Seconds after that moment, or after the start.
    """

    moment: str
    number: int
    delay_s: float

    def __str__(self) -> str:
        place = "" if self.moment == ANYWHERE else f" {self.number}"
        return f"{self.moment}{place} + {1000 * self.delay_s:.0f} ms"


@dataclass(frozen=True, slots=True)
class Survival:
    """How many periods of all tables were published before a kill, and by the run after it."""

    before: int
    after: int


@dataclass(slots=True)
class Rack:
    """A source, and a migrated database that is copied afresh for each kill.

    Attributes:
        server: URL of Postgres, as its superuser.
        template: Name of a migrated database that has no connection.
        first: First week.
        last: Last week.
        reference: Fingerprints of the tables after an undisturbed refresh.
        published: All that an undisturbed refresh publishes.
        moments: How often each moment comes.
        seconds: How long an undisturbed refresh takes.
    """

    server: str
    template: str
    first: date
    last: date
    reference: Fingerprints = field(default_factory=dict)
    published: set[TablePeriod] = field(default_factory=set)
    moments: dict[str, int] = field(default_factory=dict)
    seconds: float = 0

    def measure(self, rows: list[Row]) -> None:
        """Refresh undisturbed, and keep the result as the reference for all other databases.

        Args:
            rows: The rows of the source, from which the oracle computes the tables.
        """
        with self.database() as url:
            began = time.monotonic()
            self.moments = json.loads(self._run(url, "undisturbed"))
            self.seconds = time.monotonic() - began
            self.reference = fingerprints(url)
            self.published = published_by(url, "undisturbed")
            with psycopg.connect(url) as connection:
                for table, expected in oracle.expected_tables(rows).items():
                    oracle.assert_equal(oracle.read_table(connection, table), expected, table)
        assert self.moments.keys() == MOMENTS.keys(), "a moment never came"

    def choose(self, chance: random.Random) -> Kill:
        """Choose a moment, each as often as any other, and any time at all as often as those."""
        moment = chance.choice([*MOMENTS, ANYWHERE])
        if moment == ANYWHERE:
            return Kill(moment, 0, chance.uniform(0, self.seconds))
        number = chance.randint(1, self.moments[moment])
        return Kill(moment, number, chance.uniform(0, LONGEST_DELAY_S))

    def survive(self, kill: Kill) -> Survival | None:
        """Refresh a new database, kill the refresh, run once more, and check.

        Returns:
            What was published before and after, None if the refresh ended before the kill.

        Raises:
            AssertionError: the tables or the log are wrong.
        """
        with self.database() as url:
            if not self._killed(url, kill):
                return None
            self._run(url, "next")
            assert_at_rest(url)
            assert fingerprints(url) == self.reference, "the tables differ from the source"
            before, after = published_by(url, "killed"), published_by(url, "next")
            assert not before & after, f"copied again: {sorted(before & after)}"
            assert before | after == self.published, "the log does not name every period"
            return Survival(len(before), len(after))

    @contextmanager
    def database(self, template: str = "") -> Iterator[str]:
        """Create a copy of the template, or of another database, and drop it at the end."""
        name = f"rack_{os.getpid()}_{time.monotonic_ns()}"
        names = {
            "name": sql.Identifier(name),
            "template": sql.Identifier(template or self.template),
        }
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names)
            )
            try:
                yield urlsplit(self.server)._replace(path=f"/{name}").geturl()
            finally:
                connection.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))

    def _killed(self, url: str, kill: Kill) -> bool:
        moment = [] if kill.moment == ANYWHERE else [kill.moment, str(kill.number)]
        with self._start(url, "killed", *moment) as process:
            assert process.stdout
            try:
                if moment:
                    assert process.stdout.readline() == "now\n"
                time.sleep(kill.delay_s)
            finally:
                process.kill()
            return process.wait() != 0

    def _run(self, url: str, run_id: str) -> str:
        with self._start(url, run_id) as process:
            output, errors = process.communicate(timeout=ENDS_WITHIN_S)
        assert process.returncode == 0, errors
        return output

    def _start(self, url: str, run_id: str, *moment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "sqp_refresh_tests.torture.victim"]
        return subprocess.Popen(
            [*command, run_id, str(self.first), str(self.last), *moment],
            env={**os.environ, "DATABASE_URL": url},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def fingerprints(url: str) -> Fingerprints:
    """Return rows and a hash of every value of each table, without the times of writing."""
    hashes: Fingerprints = {}
    with psycopg.connect(url) as connection:
        for table in TABLES.values():
            query = sql.SQL(
                "SELECT count(*), coalesce(sum(hash_record_extended(ROW({columns}), 7)), 0)::text"
                " FROM {table}"
            ).format(
                columns=sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns),
                table=sql.Identifier(SCHEMA, table.name),
            )
            ((rows, hash_sum),) = connection.execute(query).fetchall()
            hashes[table.name] = (rows, hash_sum)
    return hashes


def published_by(url: str, run_id: str) -> set[TablePeriod]:
    """Return table and period of all that a run published, by its rows in the audit log."""
    with psycopg.connect(url) as connection:
        published = connection.execute(
            "SELECT table_name, jsonb_array_elements_text(sync_metadata->'weeks')"
            " FROM sqp.refresh_audit_log WHERE sync_metadata->>'run_id' = %s",
            (run_id,),
        ).fetchall()
    assert len(published) == len(set(published)), "a run published a period twice"
    return set(published)


def assert_at_rest(url: str) -> None:
    """Assert that every refresh has ended, one for each table, and that nothing is locked."""
    with psycopg.connect(url) as connection:
        log = connection.execute(
            "SELECT table_name, sync_metadata->>'run_id', status, refresh_completed_at IS NOT NULL"
            " FROM sqp.refresh_audit_log ORDER BY id"
        ).fetchall()
        active = connection.execute(
            "SELECT table_name FROM sqp.refresh_checkpoints WHERE status = 'active'"
        ).fetchall()
        locks = connection.execute(
            "SELECT l.locktype FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            # An autovacuum worker holds a lock now and then, as it should.
            " WHERE a.datname = current_database() AND a.backend_type = 'client backend'"
            " AND l.pid <> pg_backend_pid()"
            " AND (l.locktype = 'advisory' OR l.relation::regclass::text LIKE 'sqp.%')"
        ).fetchall()
    assert all(closed for *_, closed in log), f"not closed: {log}"
    ended = [(table, status) for table, run, status, _ in log if run == "next"]
    assert sorted(table for table, _ in ended) == sorted(TABLES), "not one row for each table"
    assert {status for _, status in ended} <= {"success", "skipped", "warning"}, ended
    assert {status for _, run, status, _ in log if run == "killed"} <= {
        "success",
        "skipped",
        "failed",
    }, log
    assert not active, f"still active: {active}"
    assert not locks, f"still locked: {locks}"
