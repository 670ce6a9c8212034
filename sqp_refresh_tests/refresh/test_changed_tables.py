"""A table that somebody changed is named with what mends it, and is right once that was done."""

import re
from urllib.parse import urlsplit

import pytest
from psycopg import conninfo

from sqp_refresh.errors import SchemaMismatch
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.load.indexes import drop_for_bulk_load
from sqp_refresh.model.tables import DAILY_SQP_DATA
from sqp_refresh.monitoring.doctor.postgres_checks import check_columns, check_triggers
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import read_tables
from sqp_refresh_tests.helpers.weeks import FIRST, WEEKS, three_weeks


def daily(settings: Settings, url: str) -> RefreshResult:
    source = BigQuerySource(settings, DAILY_SQP_DATA, WEEKS)
    return refresh(url, source, RefreshRequest("r"))


def test_a_dropped_column_is_named_and_the_remedy_brings_it_back(environment, source):
    url = environment.database_url
    source.write(three_weeks())
    # Under this default, types are printed in quotes.
    database = urlsplit(url).path.removeprefix("/")
    execute(url, f"ALTER DATABASE {database} SET quote_all_identifiers = on")
    assert daily(environment, url).outcome["status"] == "success"
    execute(url, "ALTER TABLE sqp.daily_sqp_data DROP COLUMN ctr")

    with pytest.raises(
        SchemaMismatch, match=r'column "ctr" does not exist; .*`sqp-refresh doctor`'
    ):
        daily(environment, url)
    with connect(url) as session, pytest.raises(SchemaMismatch) as raised:
        check_columns(session, FIRST)

    migrated = sqp_refresh("migrate")
    assert (migrated.returncode, migrated.stdout) == (0, "")
    assert "sqp.daily_sqp_data lacks column ctr; ALTER TABLE" in migrated.stderr
    (remedy,) = re.findall(r"lacks column ctr; (ALTER TABLE .+?)\. Then `", str(raised.value))
    execute(url, remedy)
    assert f"`sqp-refresh refresh --table daily_sqp_data --from {FIRST}`" in str(raised.value)
    daily(environment, url)
    expected = oracle.expected_tables(three_weeks())["daily_sqp_data"]
    oracle.assert_equal(read_tables(environment)["daily_sqp_data"], expected, "daily_sqp_data")
    with connect(url) as session:
        assert check_columns(session, FIRST).startswith("tables and views have the columns")
        assert check_triggers(session, [DAILY_SQP_DATA]).startswith("no trigger or rule")
    assert daily(environment, url).loaded == {}


def test_nights_of_who_may_build_no_index_warn_until_the_owner_does(environment, source):
    url = environment.database_url
    source.write(three_weeks())
    with connect(url) as session:
        assert drop_for_bulk_load(session, DAILY_SQP_DATA)
    execute(
        url,
        "CREATE ROLE deployed LOGIN; GRANT USAGE ON SCHEMA sqp TO deployed;"
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA sqp TO deployed",
    )
    theirs = conninfo.make_conninfo(url, user="deployed")
    try:
        for done in (daily(environment, theirs), daily(environment, theirs)):
            (warning,) = done.warnings
            assert "sqp.daily_sqp_data is without daily_sqp_data_asin_idx, " in warning
            assert "`sqp-refresh migrate`, as postgres, " in warning
        last = "SELECT status, error_message FROM sqp.refresh_audit_log ORDER BY id DESC LIMIT 1"
        assert rows(url, last) == [("warning", warning)]

        assert output("migrate").startswith("built 1 ")
        execute(url, "ALTER TABLE sqp.daily_sqp_data DROP CONSTRAINT daily_sqp_data_pkey")
        (warning,) = daily(environment, theirs).warnings
        remedy = warning.removeprefix("sqp.daily_sqp_data lacks its PRIMARY KEY ").partition("; ")
        execute(url, remedy[2])
        assert daily(environment, theirs).outcome["status"] == "success"
    finally:
        execute(url, "DROP OWNED BY deployed; DROP ROLE deployed")
