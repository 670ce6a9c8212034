"""A downgrade says what would go before it deletes anything."""

import io
import re
from urllib.parse import urlsplit

import pytest
from psycopg import conninfo

from sqp_refresh.postgres import migrate
from sqp_refresh.postgres.downgrade_plan import plan_downgrade
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.migrations.servers import VERSIONS

TABLES = "SELECT tablename FROM pg_tables WHERE schemaname = 'sqp'"


@pytest.fixture
def url(migrated_database, monkeypatch) -> str:
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    # Nobody is there to answer.
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return migrated_database


def tables(url: str) -> set[str]:
    return {name for (name,) in rows(url, TABLES)}


def test_a_downgrade_needs_its_revision(url):
    done = sqp_refresh("downgrade", "--yes")

    assert done.returncode == 2
    assert "REVISION" in done.stderr
    assert migrate.is_at_newest_revision(url)


@pytest.mark.parametrize("revision", ["9999", "12", "head", "", "-1", "Base", "0012; DROP"])
def test_an_unknown_revision_is_one_line_before_anything_is_asked(url, revision):
    done = sqp_refresh("downgrade", "--yes", "--", revision)

    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"there is no revision {revision!r}; choose from base, 0001, " in line
    assert done.stdout == ""
    assert migrate.is_at_newest_revision(url)


def test_a_downgrade_asks_with_the_place_and_the_rows_that_would_go(url):
    execute(
        url,
        "INSERT INTO sqp.weekly_summary (period_start, period_end, marketplace, asin, search_query,"
        " weeks_count) SELECT '2025-08-10', '2025-08-16', 'US', 'B000000001', n::text, 1"
        " FROM generate_series(1, 1234) AS n",
    )

    refused = sqp_refresh("downgrade", "base")

    assert refused.returncode == 1
    assert f"database {urlsplit(url).path.removeprefix('/')} at " in refused.stdout
    host = conninfo.conninfo_to_dict(url)["host"]
    assert str(host) in refused.stdout
    listed = dict(re.findall(r"^  sqp\.(\w+): ([\d,]+) rows$", refused.stdout, re.MULTILINE))
    assert listed.keys() == tables(url)
    assert (listed["weekly_summary"], listed["refresh_config"]) == ("1,234", "8")
    assert migrate.is_at_newest_revision(url)
    assert output("downgrade", "base", "--yes").startswith("removed ")
    assert tables(url) == set()
    assert output("downgrade", "base") == "nothing to do"


def test_what_a_downgrade_names_is_what_goes(url):
    """Taken back one by one, each revision drops exactly the tables that were named."""
    for revision in ["base", *VERSIONS[:-1]][::-1]:
        before = tables(url)
        plan = plan_downgrade(url, revision)
        taken_back = migrate.downgrade(url, revision)
        assert list(plan.revisions) == taken_back
        assert plan.rows_by_table.keys() == before - tables(url), revision


def test_a_downgrade_that_deletes_no_table_says_so(url):
    refused = sqp_refresh("downgrade", VERSIONS[-2])

    assert f"This takes back {VERSIONS[-1]} in database " in refused.stdout
    assert migrate.is_at_newest_revision(url)
