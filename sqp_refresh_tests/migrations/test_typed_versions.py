"""What an earlier release kept of each period is read after the upgrade, and not loaded again."""

from datetime import date

from psycopg.types.json import Jsonb

from sqp_refresh.ledger.ledger import LedgerEntry, read_entries
from sqp_refresh.ledger.target_version import TargetVersion
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE, TABLES
from sqp_refresh.model.versions import ParentVersions, SourceVersion
from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.session import connect
from sqp_refresh_tests.migrations.servers import Database

SUNDAYS = [date(2025, 8, 10), date(2025, 8, 17)]
WEEKS = [Period.week_of(sunday) for sunday in SUNDAYS]
YEAR = Period(date(2025, 1, 1), date(2025, 12, 31))
INSERT = """
INSERT INTO sqp.refresh_periods (
    table_name, period_start, period_end, source_state, target_state, row_count, changed_by,
    published_by
) VALUES (%s, %s, %s, %s, '-7 columns', 3, 5, 5)
"""
FULL = {
    "source_rows": 10,
    "broken": 2,
    "landing": 7,
    "digest_1": 11,
    "digest_9": 12,
    "digest_17": 13,
    "marketplace": "US",
    "expected": {"row_count": 7, "sum_asin_click_count": 40},
    "definition": "made so",
}


def test_versions_of_an_earlier_release_are_read_as_they_were(database_18: Database):
    migrate.upgrade(database_18.url, "0011")
    weeks = {"search_query_performance": {str(SUNDAYS[0]): 5}}
    rows = [
        ("search_query_performance", WEEKS[0], FULL),
        ("search_query_performance", WEEKS[1], FULL | {"doubted": True}),
        ("yearly_summary", YEAR, {"weeks": weeks, "definition": "summed so"}),
    ]
    for table, period, state in rows:
        database_18.rows(INSERT, table, period.start, period.end, Jsonb(state))

    migrate.upgrade(database_18.url)

    version = SourceVersion(10, 2, 1, FULL["expected"], "11 12 13", "US")
    target = TargetVersion(3, -7, "columns")
    with connect(database_18.url) as session:
        assert read_entries(session, SEARCH_QUERY_PERFORMANCE, WEEKS) == {
            WEEKS[0]: LedgerEntry(version, "made so", False, target, has_history=True),
            WEEKS[1]: LedgerEntry(version, "made so", True, target, has_history=True),
        }
        parents = ParentVersions({"search_query_performance": {SUNDAYS[0]: 5}})
        assert read_entries(session, TABLES["yearly_summary"], [YEAR]) == {
            YEAR: LedgerEntry(parents, "summed so", False, target, has_history=True)
        }

    migrate.downgrade(database_18.url, "0011")

    states = "SELECT source_state FROM sqp.refresh_periods ORDER BY table_name, period_start"
    (first,), (second,), (year,) = database_18.rows(states)
    assert (first["definition"], second["doubted"]) == ("made so", True)
    assert year == {"weeks": weeks, "definition": "summed so"}
