"""What an operator does about a bad export: accept it, take the weeks back, and let them go."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from sqp_refresh.errors import SettingsError
from sqp_refresh.extract.client import ServerTime
from sqp_refresh.extract.source import WantedInstant
from sqp_refresh.model.tables import SEARCH_QUERY_PERFORMANCE
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.commands import one_line, output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import LAST, MIDDLE, WEEKS

QUERIES = SEARCH_QUERY_PERFORMANCE.name
TABLES = ("--table", QUERIES, "--table", "weekly_summary")
BOTH = ("--from", str(MIDDLE), "--to", str(LAST))
COUNTS = "SELECT count(*) FROM sqp.{} WHERE asin = 'B000000001'"
PINS = "SELECT table_name, period_start, reason FROM sqp.refresh_pins"
NOW = datetime(2026, 8, 16, 2, tzinfo=UTC)


def counts(settings: Settings) -> list[int]:
    """Count the rows of the table, and of one that is derived from it."""
    tables = (QUERIES, "weekly_summary")
    return [rows(settings.database_url, COUNTS.format(table))[0][0] for table in tables]


def night(settings: Settings) -> RefreshResult:
    source = source_for(settings, SEARCH_QUERY_PERFORMANCE, WEEKS)
    return refresh(settings.database_url, source, RefreshRequest("night"))


def test_a_bad_export_is_kept_out_let_in_and_taken_back(environment, source):
    source.write(
        [row(day=MIDDLE, query=f"query {score}", score=score) for score in range(1, 121)]
        + [row(day=LAST, asin="B000000002")]
    )
    night(environment)
    good = WantedInstant(datetime.now(UTC))
    source.sql("DELETE FROM {table} WHERE `Search Query Score` > 10")
    assert [str(week) for week in night(environment).held] == [str(MIDDLE)]

    output("refresh", *TABLES, *BOTH, "--source-as-of", good.instant.isoformat())

    # The source is as it was in the other week, so that the next restatement of it is welcome.
    assert counts(environment) == [120, 120]
    ((table, week, reason),) = rows(environment.database_url, PINS)
    assert (table, week) == (QUERIES, MIDDLE)
    assert reason.startswith("as the source stood at ")
    planned = json.loads(output("plan", "--table", QUERIES, *BOTH, "--force", "--json"))
    pinned = planned[0]
    assert [pinned["copy"], pinned["reason"], planned[1]["reason"]] == [False, "pinned", "forced"]
    assert pinned["note"].startswith(reason)
    assert f"{MIDDLE}: pinned" in sqp_refresh("check", "--table", QUERIES).stdout
    unpinned = output("unpin", QUERIES, "--week", str(MIDDLE))
    assert unpinned.startswith(f"unpinned {QUERIES} {MIDDLE}")
    assert "is not pinned" in one_line(sqp_refresh("unpin", QUERIES, "--week", str(MIDDLE)))
    assert output("unpin", QUERIES) == f"nothing of {QUERIES} is pinned"
    # As if it had been held back again.
    execute(environment.database_url, "UPDATE sqp.refresh_periods SET accepts_any_change = false")
    kept = json.loads(output("refresh", "--table", QUERIES, *BOTH, "--json"))["tables"][0]
    assert [kept[name] for name in ("status", "copied", "skipped", "periods")] == [
        "warning",
        0,
        1,
        2,
    ]
    output("refresh", *TABLES, *BOTH, "--accept")
    assert counts(environment) == [10, 10]

    as_of = source_for(environment, SEARCH_QUERY_PERFORMANCE, WEEKS, good)
    result = refresh(environment.database_url, as_of, RefreshRequest("by hand"))

    assert result.counts.inserted == 110
    again = refresh(environment.database_url, as_of, RefreshRequest("by hand"))
    assert again.warnings == [
        f"{MIDDLE} is pinned already and stays as it is; `sqp-refresh unpin {QUERIES}` first"
    ]
    assert [week for _, week, _ in rows(environment.database_url, PINS)] == [MIDDLE]


def test_a_view_or_a_derived_table_alone_is_refused_in_one_line(environment, source, monkeypatch):
    source.write([row(day=MIDDLE)])
    now = ("--source-as-of", datetime.now(UTC).isoformat())

    assert "needs a table that is filled from BigQuery" in one_line(
        sqp_refresh("refresh", "--table", "weekly_summary", *BOTH, *now)
    )
    source.make_view("view", with_schema=True)
    monkeypatch.setenv("BIGQUERY_SOURCE_TABLE", "view")
    assert "is a view" in one_line(sqp_refresh("refresh", *TABLES, *BOTH, *now))
    assert rows(environment.database_url, "SELECT FROM sqp.refresh_audit_log") == []


@pytest.mark.parametrize("text", ["yesterday", "2026-08-16", "2026-08-16T02:00:00", ""])
def test_an_instant_without_a_zone_is_refused(text):
    with pytest.raises(SettingsError, match="is no instant with a time zone"):
        WantedInstant.parse(text)


@pytest.mark.parametrize(
    ("ago", "fault"),
    [
        (timedelta(days=7, seconds=1), "is too long ago"),
        (timedelta(seconds=-1), "has not come yet"),
        (timedelta(days=6, hours=23), None),
        (timedelta(), None),
    ],
)
def test_bigquery_remembers_seven_days(ago, fault):
    instant = WantedInstant.parse((NOW - ago).isoformat())

    if fault is None:
        assert instant.by(ServerTime(NOW)) == NOW - ago
        return
    with pytest.raises(SettingsError, match=fault):
        instant.by(ServerTime(NOW))
