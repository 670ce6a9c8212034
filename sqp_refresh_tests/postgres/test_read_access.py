"""Test that a role which is to read the data may read that, and nothing of control."""

from collections.abc import Iterator

import pytest

from sqp_refresh.model.tables import TABLES
from sqp_refresh_tests.helpers.commands import one_line, output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.view_oracle import KEYS as DATA_VIEWS

READABLE = """
SELECT relname FROM pg_class
WHERE relnamespace = 'sqp'::regnamespace AND relkind IN ('r', 'v', 'p')
    AND has_table_privilege('sqp_reader', oid, '{privileges}')
"""

DATA = {*TABLES, *DATA_VIEWS}


@pytest.fixture
def url(migrated_database, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    execute(migrated_database, "CREATE ROLE sqp_reader")
    yield migrated_database
    execute(migrated_database, "DROP OWNED BY sqp_reader; DROP ROLE sqp_reader")


def may(url: str, privileges: str = "SELECT") -> set[str]:
    return {name for (name,) in rows(url, READABLE.format(privileges=privileges))}


def test_a_reader_may_read_the_data_and_what_is_added_later_and_no_control_table(url):
    execute(url, "CREATE VIEW sqp.best AS SELECT * FROM sqp.weekly_summary")
    execute(url, "CREATE VIEW sqp.costs AS SELECT * FROM sqp.refresh_runs")
    execute(url, "GRANT SELECT ON sqp.refresh_config, sqp.data_quality_overview TO sqp_reader")

    printed = output("grant", "--read", "sqp_reader")

    assert may(url) == {*DATA, "best"}
    assert may(url, "INSERT, UPDATE, DELETE, TRUNCATE") == set()
    assert printed.startswith("sqp_reader may read asin_performance_data, best, ")
    execute(url, "SET ROLE sqp_reader; SELECT * FROM sqp.best")
    # It knows of control what is final, and nobody else does.
    execute(url, "SET ROLE sqp_reader; SELECT * FROM sqp.query_trends")
    execute(url, "REVOKE ALL ON FUNCTION sqp.final_weeks() FROM sqp_reader")
    execute(url, "CREATE TABLE sqp.volumes (asin text)")
    assert may(url) == {*DATA, "best", "volumes"}
    # A control table that a later release adds.
    execute(url, "CREATE TABLE sqp.refresh_of_later (id bigint)")
    output("migrate")
    assert may(url) == {*DATA, "best", "volumes"}
    execute(url, "SET ROLE sqp_reader; SELECT * FROM sqp.query_trends")
    assert output("grant", "--read", "sqp_reader") != printed


def test_whoever_cannot_be_a_reader_is_named_and_nothing_is_changed(url):
    assert "there is no role 'nobody'" in one_line(sqp_refresh("grant", "--read", "nobody"))
    execute(url, "GRANT INSERT ON sqp.refresh_audit_log TO sqp_reader")
    assert "name a role that only reads" in one_line(sqp_refresh("grant", "--read", "sqp_reader"))
    execute(url, "REVOKE INSERT ON sqp.refresh_audit_log FROM sqp_reader")
    execute(url, "GRANT SELECT ON sqp.refresh_config TO PUBLIC")

    assert "may read refresh_config through PUBLIC" in one_line(
        sqp_refresh("grant", "--read", "sqp_reader")
    )
    assert may(url) == {"refresh_config"}
    assert sqp_refresh("grant").returncode == 2
