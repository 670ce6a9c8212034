"""Let somebody else edit the tables while they are refreshed, and check that nothing stays."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from sqp_refresh.extract.query_cache import RunQueries
from sqp_refresh.model.periods import weeks_between
from sqp_refresh.model.tables import SCHEMA, TABLES
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.rows import Row
from sqp_refresh_tests.torture.editor import PHASES, Editor, Moments, Written
from sqp_refresh_tests.torture.rack import Fingerprints, Rack, fingerprints

FIRST_LOAD, RESTATED = "first load", "restated"


@dataclass(slots=True)
class EditedRack:
    """Two states of a source, and databases before and after a refresh from the earlier of them.

    Attributes:
        rack: Makes the databases.
        earlier: Settings whose source is the earlier state.
        later: Settings whose source is the later state; the tables must end up as it says.
        templates: Database to copy, by what a refresh from the later state is there.
        statements: Statements of such a refresh (count).
        reference: What the tables must hold.
        written: The same, row by row.
        instant: When all refreshes read the source as of.
        queries: What BigQuery has answered, which stays as it is.
    """

    rack: Rack
    earlier: Settings
    later: Settings
    templates: dict[str, str] = field(default_factory=dict)
    statements: dict[str, int] = field(default_factory=dict)
    reference: Fingerprints = field(default_factory=dict)
    written: Written = field(default_factory=dict)
    instant: datetime = field(default_factory=lambda: datetime.now(UTC))
    queries: RunQueries = field(default_factory=RunQueries)

    def prepare(self, kept: ExitStack, rows: list[Row]) -> None:
        """Load the earlier state, and measure how a refresh goes that nobody disturbs.

        Args:
            kept: Keeps the databases that are copied.
            rows: The rows of the later state, from which the oracle computes the tables.
        """
        loaded = kept.enter_context(self.rack.database())
        self._refresh(loaded, self.earlier)
        self.templates = {
            FIRST_LOAD: self.rack.template,
            RESTATED: urlsplit(loaded).path.removeprefix("/"),
        }
        for kind, template in self.templates.items():
            with self.rack.database(template) as url:
                moments = Moments()
                self._refresh(url, self.later, moments)
                self.statements[kind] = moments.passed
                self.reference, self.written = fingerprints(url), read_rows(url)
                with psycopg.connect(url) as connection:
                    for table, expected in oracle.expected_tables(rows).items():
                        oracle.assert_equal(oracle.read_table(connection, table), expected, table)

    def survive(self, chance: random.Random, edits: int) -> Counter[str]:
        """Refresh while somebody else edits, refresh once more, and check.

        Returns:
            How many edits there were, by kind.

        Raises:
            AssertionError: an edit has stayed, or the tables are not at rest.
        """
        kind = chance.choice(list(self.templates))
        with self.rack.database(self.templates[kind]) as url:
            editor = Editor(url, chance, self.written)
            numbers = chance.choices(range(self.statements[kind]), k=edits)
            at = {(number, chance.choice(PHASES)): editor.edit for number in numbers}
            self._refresh(url, self.later, Moments(at))
            self._refresh(url, self.later)
            different = {
                table
                for table, fingerprint in fingerprints(url).items()
                if fingerprint != self.reference[table]
            }
            assert not different, f"{kind}: edits have stayed in {sorted(different)}"
            again = self._refresh(url, self.later)
            loaded = {name: list(result.loaded) for name, result in again.items() if result.loaded}
            assert not loaded, f"{kind}: loaded again {loaded}"
            return editor.done + Counter({kind: 1})

    def _refresh(
        self, url: str, settings: Settings, moments: Moments | None = None
    ) -> Mapping[str, RefreshResult]:
        weeks = list(weeks_between(self.rack.first, self.rack.last))
        results = {}
        with ExitStack() as observing:
            if moments is not None:
                observing.enter_context(moments.observed())
            for table in TABLES.values():
                if moments is not None:
                    moments.table = table
                source = source_for(settings, table, weeks, self.instant, queries=self.queries)
                results[table.name] = refresh(url, source, RefreshRequest("edited"))
        return results


def states(rows: Sequence[Row], sundays: Sequence[date]) -> tuple[list[Row], list[Row]]:
    """Return an earlier and a later state of a source, of which each table makes its own.

    The last two weeks are new, the second has lost a row, in the third one is restated.

    Args:
        rows: All rows.
        sundays: Their weeks, five at least.
    """
    later = list(rows)
    by_week = {sunday: [row for row in rows if _sunday(row) == sunday] for sunday in sundays}
    first, second, third, *_, last_but_one, last = by_week.values()
    restated = {
        "ASIN Median Purchase Price Amount": None,
        "Total Median Click Price Amount": None,
    }
    extra = second[0] | {"Search Query": "a query that is gone"}
    earlier = [
        *first,
        *second,
        extra,
        third[0] | restated,
        *third[1:],
        *(row for week in [*by_week.values()][3:-2] for row in week),
    ]
    assert last_but_one and last, "there are weeks to add"
    return earlier, later


def _sunday(row: Row) -> date:
    day = row["Date"]
    return day.date() if isinstance(day, datetime) else day


def read_rows(url: str) -> Written:
    """Read all rows of all tables, in the order of their columns."""
    with psycopg.connect(url) as connection:
        return {
            table.name: connection.execute(
                sql.SQL("SELECT {} FROM {}").format(
                    sql.SQL(", ").join(sql.Identifier(column.name) for column in table.columns),
                    sql.Identifier(SCHEMA, table.name),
                )
            ).fetchall()
            for table in TABLES.values()
        }
