"""Bad rows, rejected weeks and changed sources, from BigQuery to the tables and to the operator."""

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pyarrow as pa
import pytest

from sqp_refresh.errors import Rejected, SchemaMismatch
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    COUNT,
    SEARCH_QUERY_PERFORMANCE,
    TABLES,
    TEXT,
    SourceColumn,
    Table,
)
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.audit_log import audit
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import tolerate
from sqp_refresh_tests.helpers.nights import read_tables
from sqp_refresh_tests.helpers.rows import Row, row, source_table
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, WEEKS, three_weeks
from sqp_refresh_tests.validate.dirty import NUMBER, bad_row, kinds_of

QUERIES = "search_query_performance"
FILLED = (QUERIES, "asin_performance_data")


def refreshed(settings: Settings, table: Table = SEARCH_QUERY_PERFORMANCE) -> RefreshResult:
    return refresh(
        settings.database_url, source_for(settings, table, WEEKS), RefreshRequest("quality")
    )


def only(settings: Settings, *tables: str) -> None:
    """Disable every table but these."""
    names = ", ".join(f"'{table}'" for table in tables)
    disable = f"UPDATE sqp.refresh_config SET is_enabled = false WHERE table_name NOT IN ({names})"
    execute(settings.database_url, disable)


def quarantine(settings: Settings) -> list[tuple]:
    return rows(
        settings.database_url,
        "SELECT table_name, period_start, raw_row, reasons, replayed_at IS NOT NULL, audit_log_id"
        " FROM sqp.refresh_quarantine ORDER BY id",
    )


def bad_rows(random: Random) -> list[tuple[Row, set[str]]]:
    made = [
        bad_row(kind, number, random, MIDDLE)
        for number, kind in enumerate(kinds_of("numbers", in_bigquery=True))
    ]
    return [
        ({title: value for title, value in spoiled.items() if title != NUMBER}, reasons)
        for spoiled, reasons in made
    ]


def test_bad_rows_wait_in_quarantine_until_the_source_is_mended(environment, source):
    bad, good = bad_rows(Random(7)), three_weeks()
    source.write([*good, *(spoiled for spoiled, _ in bad)])
    tolerate(environment.database_url, 1)
    only(environment, *FILLED)

    summaries = {name: refreshed(environment, TABLES[name]) for name in FILLED}

    for table in FILLED:
        expected = oracle.expected_tables(good)[table]
        oracle.assert_equal(read_tables(environment)[table], expected, table)
    status, message, _, metadata = audit(environment)
    assert (status, metadata["quarantined"]) == ("warning", len(bad))
    assert message is not None
    assert message.startswith(f"{len(bad)} rows are in quarantine: ")
    assert {summary.metadata["reconciliation"]["verdict"] for summary in summaries.values()} == {
        "PASS"
    }
    assert summaries["asin_performance_data"].rejected_at_source == len(bad)
    assert summaries["asin_performance_data"].outcome["status"] == "warning"
    kept = quarantine(environment)
    assert {(table, week, done) for table, week, _, _, done, _ in kept} == {
        (QUERIES, MIDDLE, False)
    }
    assert sorted(sorted(reasons) for _, _, _, reasons, _, _ in kept) == sorted(
        sorted(reasons) for _, reasons in bad
    )
    assert {run for *_, run in kept} == {summaries[QUERIES].audit_log_id}

    listed = json.loads(output("quarantine", "list", "--json"))
    assert sum(group["rows"] for group in listed) == sum(len(reasons) for _, reasons in bad)
    printed = output("quarantine", "list").splitlines()
    assert printed[-1].startswith(f"{len(bad)} rows wait")
    assert all(str(MIDDLE) in line for line in printed if line.startswith(QUERIES))
    shown = output("quarantine", "show", str(listed[0]["example"]))
    assert listed[0]["reason"] in shown
    assert "waits" in shown.splitlines()[0]

    mended = [row(day=MIDDLE, query=f"mended {number}") for number in range(len(bad))]
    source.replace([*good, *mended])
    replayed = output("quarantine", "replay")

    for table in FILLED:
        expected = oracle.expected_tables([*good, *mended])[table]
        oracle.assert_equal(read_tables(environment)[table], expected, table)
    assert f"{QUERIES}: {len(bad)} rows waited; 0 rows of their weeks are refused now" in replayed
    assert [line[:4] for line in quarantine(environment)] == [line[:4] for line in kept]
    assert all(done for *_, done, _ in quarantine(environment))
    assert output("quarantine", "list") == "no row is in quarantine"
    assert "judged again at" in output("quarantine", "show", str(listed[0]["example"]))


def test_a_replay_of_what_is_still_bad_says_so_and_keeps_the_row_once_more(environment, source):
    source.write([*three_weeks(), row(day=MIDDLE, query="bad", score=0)])
    tolerate(environment.database_url, 0.5)
    only(environment, QUERIES)
    refreshed(environment)

    done = sqp_refresh("quarantine", "replay", "--table", QUERIES)

    assert done.returncode == 1
    assert "1 rows waited; 1 rows of their weeks are refused now" in done.stdout
    assert [done for *_, done, _ in quarantine(environment)] == [True, False]


@pytest.mark.parametrize("table", [SEARCH_QUERY_PERFORMANCE, ASIN_PERFORMANCE_DATA])
def test_a_week_with_too_many_bad_rows_is_rejected_whole_and_others_are_not(
    environment, source, table
):
    good = three_weeks()
    source.write(good)
    refreshed(environment, table)
    before = read_tables(environment)[table.name]
    restated = [line | {"Search Query Volume": 900, "Total Click Rate": None} for line in good]
    restated[4]["Child ASIN"] = "Child ASIN"
    source.replace(restated)

    with pytest.raises(Rejected, match=rf"week of {MIDDLE} is rejected: 1 of its 4 rows break"):
        refreshed(environment, table)

    now = read_tables(environment)[table.name]
    others = oracle.expected_tables([line for line in restated if line["Date"] != MIDDLE])
    last_good = {key: value for key, value in before.items() if MIDDLE in key}
    oracle.assert_equal(now, others[table.name] | last_good, table.name)
    status, message, details, metadata = audit(environment, table.name)
    assert (status, details["kind"], details["retryable"]) == ("failed", "data", False)
    assert message is not None
    assert "what was published before stays as it is" in message
    # Of a table that BigQuery aggregates, too, the message names the rules.
    assert "Child ASIN is not ten capital letters and digits (1)" in message
    assert list(details["rejected"]) == metadata["rejected"] == [str(MIDDLE)]
    metrics = rows(
        environment.database_url,
        "SELECT metric_value::float8, threshold_max::float8, is_within_threshold"
        " FROM sqp.refresh_data_quality WHERE metric_name = 'quarantined_ratio'",
    )
    assert metrics == [(0.25, 0.01, False)]
    if table is SEARCH_QUERY_PERFORMANCE:
        ((_, week, raw, reasons, _, _),) = quarantine(environment)
        assert (week, raw["Child ASIN"]) == (MIDDLE, "Child ASIN")
        assert "Child ASIN is the name of a column" in reasons


def test_rows_without_a_date_are_reported_because_no_week_can_claim_them(environment, source):
    source.write([*three_weeks(), row({"Date": None}), row({"Date": None})])

    summary = refreshed(environment)

    assert summary.outcome == {
        "status": "warning",
        "error_message": "2 rows of the source have no date, and reach no week",
    }


# -- what changes about the source -----------------------------------------------------------------


def with_column(made: Sequence[Row], title: str, values: pa.Array) -> pa.Table:
    return source_table(made).append_column(title, values)


def test_a_new_column_is_noted_once_and_what_no_longer_fits_stops_the_table(environment, source):
    good = three_weeks()
    source.write(good)
    refreshed(environment)
    before = read_tables(environment)[QUERIES]

    source.replace(with_column(good, "Brand Score", pa.array(range(12))))
    assert refreshed(environment).drift.notes == [
        "the source has a new column 'Brand Score' (INTEGER)"
    ]
    assert audit(environment)[0] == "success"
    assert refreshed(environment).drift.notes == []

    source.replace(three_weeks(volume=7), without=["ASIN Click Count"])
    gone = r"no column 'ASIN Click Count'; .*no longer has a column 'ASIN Click Count' \(INTEGER\)"
    with pytest.raises(SchemaMismatch, match=gone):
        refreshed(environment)

    made = source_table(three_weeks(volume=7))
    place = made.schema.get_field_index("ASIN Click Count")
    source.replace(made.set_column(place, "ASIN Click Count", pa.array([True] * 12)))
    with pytest.raises(SchemaMismatch, match=r"'ASIN Click Count' of the source is BOOL.* was INT"):
        refreshed(environment)

    source.replace([in_fractions(line) for line in three_weeks(volume=7)])
    with pytest.raises(SchemaMismatch, match=f"shares of {FIRST}.* are fractions from 0 to 1"):
        refreshed(environment)
    oracle.assert_equal(read_tables(environment)[QUERIES], before)
    assert not quarantine(environment)


def in_fractions(line: Row) -> Row:
    return {
        title: value / 100 if title.endswith("Share") and value is not None else value
        for title, value in line.items()
    }


def test_an_optional_column_is_adopted_by_one_migration(environment, source):
    good = three_weeks()
    source.write(good)
    refreshed(environment)
    execute(
        environment.database_url,
        "ALTER TABLE sqp.search_query_performance ADD badge text, ADD badge_count bigint",
    )
    badges = (
        SourceColumn("Badge", "badge", TEXT, "Amazon's badge", optional=True),
        SourceColumn("Badge Count", "badge_count", COUNT, "rows with it", optional=True),
    )
    spec = SEARCH_QUERY_PERFORMANCE.source
    assert spec is not None
    table = replace(
        SEARCH_QUERY_PERFORMANCE,
        values=(*SEARCH_QUERY_PERFORMANCE.values, *(badge.target for badge in badges)),
        source=replace(spec, columns=(*spec.columns, *badges)),
    )

    assert refreshed(environment, table).counts.unchanged == 12
    delivered = with_column(good, "Badge", pa.array(["choice"] * 12))
    source.replace(delivered.append_column("Badge Count", pa.array([3] * 11 + [-1])))
    tolerate(environment.database_url, 0.5)
    summary = refreshed(environment, table)

    assert (summary.counts.updated, summary.counts.quarantined) == (11, 1)
    assert summary.broken_rules == {"Badge Count is not between 0 and 10^12": 1}


def test_the_checks_are_made_from_the_shell(environment, source):
    assert json.loads(output("check", "--json")) == []
    never = sqp_refresh("check", "--table", QUERIES)
    assert "was never refreshed" in never.stderr
    source.write(three_weeks())
    refreshed(environment)
    tolerate(environment.database_url, 10_000, "freshness_days")
    assert output("check") == f"{QUERIES}: 19 of 19 metrics are as they should be"

    execute(
        environment.database_url,
        f"UPDATE sqp.{QUERIES} SET asin_click_count = 4 WHERE start_date = '{LAST}'",
    )
    done = sqp_refresh("check", "--table", QUERIES)

    assert done.returncode == 1
    assert (
        f"sums_match_source: sum_asin_click_count is 16 in {LAST} where the source says 20"
        in done.stdout
    )
    week = sqp_refresh("check", "--table", QUERIES, "--from", str(FIRST), "--to", str(FIRST))
    assert "sums_match_source" not in week.stdout
