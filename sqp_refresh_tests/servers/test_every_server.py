"""Test the core of a night on every other server that is supported, and behind a pooler of two."""

import json
import re

import pytest

from sqp_refresh.control import table_lock as table_lock_module
from sqp_refresh.control.table_lock import table_lock
from sqp_refresh.errors import Busy, Stopped
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh_tests.faults.outcome import log, refreshed
from sqp_refresh_tests.faults.sources import DisturbedAfterAWeek
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import Nights, read_tables, refresh_all
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import LAST, MIDDLE, WEEKS, three_weeks
from sqp_refresh_tests.servers.running import on_other_servers

QUERIES = SEARCH_QUERY_PERFORMANCE.name
PLAIN_INDEXES = """
SELECT indexrelid, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indrelid
WHERE NOT indisunique AND relname = 'search_query_performance' ORDER BY 2
"""
COLUMNS = """
SELECT table_name, column_name, data_type, column_default, is_nullable
FROM information_schema.columns WHERE table_schema = 'sqp' ORDER BY 1, 2
"""


@on_other_servers
def test_nights_hold_what_the_oracle_computes(environment, source):
    url, delivered = environment.database_url, three_weeks()
    nights, indexes = Nights(environment, source), dict(rows(url, PLAIN_INDEXES))

    nights.after(delivered)
    built = dict(rows(url, PLAIN_INDEXES))
    assert list(built.values()) == list(indexes.values())
    assert not built.keys() & indexes.keys(), "the first load drops and builds them"

    unchanged = nights.refreshed(nights.expected, len(delivered))
    assert {counts.read for counts in unchanged.values()} == {0}

    execute(url, f"DELETE FROM sqp.{QUERIES} WHERE start_date = '{LAST}'")
    delivered[5] = row(day=MIDDLE, query="red widget", clicks=(540, 7))
    source.replace(delivered)
    refresh_all(environment)
    expected = oracle.expected_tables(delivered)
    for table, held in read_tables(environment).items():
        oracle.assert_equal(held, expected[table], table)


@on_other_servers
def test_a_refresh_has_its_table_alone_until_somebody_disables_it(environment, source, monkeypatch):
    source.write(three_weeks())
    monkeypatch.setattr(table_lock_module, "WAIT_S", 0.6)
    url = environment.database_url

    def disturb() -> None:
        with table_lock(url, SEARCH_QUERY_PERFORMANCE) as lock, pytest.raises(Busy, match="run r "):
            lock.acquire()
        assert output("disable", QUERIES) == f"disabled {QUERIES}"

    with pytest.raises(Stopped, match="is disabled"):
        refreshed("r", source=DisturbedAfterAWeek(environment, disturb))

    assert [entry[:2] for entry in log()] == [("r", "failed")]
    assert re.search(rf"^{QUERIES} .* 4 .* disabled$", sqp_refresh("status").stdout, re.MULTILINE)
    output("enable", QUERIES)
    assert list(refreshed("next").periods) == WEEKS[1:]


@on_other_servers
def test_the_schema_goes_down_and_up_again_and_the_doctor_finds_nothing(environment, source):
    url = environment.database_url
    source.write(three_weeks()[:1])
    # As the doctor asks for up to Postgres 14, where everybody may.
    execute(url, "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    columns = rows(url, COLUMNS)

    assert output("downgrade", "base", "--yes").startswith("removed ")
    assert rows(url, COLUMNS) == []
    assert output("migrate").startswith("applied 0001, ")

    assert rows(url, COLUMNS) == columns
    diagnoses = json.loads(sqp_refresh("doctor", "--json").stdout)
    assert [row for row in diagnoses if not row["ok"]] == []
