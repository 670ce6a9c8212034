"""Test the commands that plan, enable, disable, stop, register, and look for problems."""

import json
import re
from contextlib import nullcontext
from functools import partial

import pytest

from sqp_refresh import __version__
from sqp_refresh.errors import Stopped
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.periods import Grain
from sqp_refresh.model.tables import DAILY_SQP_DATA, TABLES
from sqp_refresh.settings import Settings
from sqp_refresh_tests.faults.outcome import log, refreshed
from sqp_refresh_tests.faults.sources import DisturbedAfterAWeek, DisturbedBeforeTheFirstWeek
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.commands import one_line, output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import read_tables, refresh_all
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, WEEKS, three_weeks

RANGE = ("--from", str(FIRST), "--to", str(LAST))
QUERIES = "search_query_performance"


def enabled(settings: Settings) -> set[str]:
    query = "SELECT table_name FROM sqp.refresh_config WHERE is_enabled"
    return {table for (table,) in rows(settings.database_url, query)}


# -- plan and refresh ------------------------------------------------------------------------------


def test_a_plan_tells_what_would_be_copied_and_why_and_writes_nothing(environment, source):
    source.write(three_weeks())
    refresh_all(environment)
    before = read_tables(environment), log()
    source.replace(
        [
            row | {"Search Query Volume": 7} if row["Date"] == MIDDLE else row
            for row in three_weeks()
        ]
    )

    planned = json.loads(output("plan", *RANGE, "--json"))

    copied = {(period["table"], period["period"]): period for period in planned if period["copy"]}
    week = (QUERIES, str(MIDDLE))
    assert {table for table, _ in copied} == set(TABLES)
    assert {period for table, period in copied if TABLES[table].source} == {str(MIDDLE)}
    assert (copied[week]["rows"], copied[week]["reason"]) == (4, "the source changed")
    assert copied[week]["bytes"] is not None
    assert copied["weekly_summary", str(MIDDLE)]["bytes"] is None
    assert (read_tables(environment), log()) == before


def test_a_plan_reads_well(environment, source):
    source.write(three_weeks())

    printed = output("plan", "--table", QUERIES, *RANGE).splitlines()

    assert printed[-1] == "3 of 3 periods would be copied; nothing was written"
    assert [line for line in printed if str(MIDDLE) in line and "never published" in line]


def test_a_plan_copies_nothing_of_what_is_empty_on_both_sides(environment, source):
    source.write([row for row in three_weeks() if row["Date"] != LAST])

    printed = output("plan", *RANGE)
    planned = json.loads(output("plan", *RANGE, "--json"))

    empty = {(each["table"], each["period"]) for each in planned if not each["copy"]}
    weekly = {name for name, table in TABLES.items() if table.grain.published is Grain.WEEK}
    assert empty == {(name, str(LAST)) for name in weekly}
    assert {each["reason"] for each in planned if not each["copy"]} == {"empty in the source"}
    assert len(re.findall(r"1 period +- +- +empty in the source", printed)) == len(weekly)


def test_what_is_due_is_refreshed_and_then_nothing_is(environment, source):
    source.write(three_weeks())
    url = environment.database_url
    execute(url, "UPDATE sqp.refresh_config SET next_refresh_at = now() + interval '1 hour'")
    soon = "UPDATE sqp.refresh_config SET next_refresh_at = now() - interval '1 minute'"
    execute(url, f"{soon} WHERE table_name = 'daily_sqp_data'")

    done = json.loads(output("refresh", "--due", *RANGE, "--json"))

    assert [table["table"] for table in done["tables"]] == ["daily_sqp_data"]
    assert re.match(r"no enabled table is due; \w+ is at 20", output("refresh", "--due"))
    assert json.loads(output("refresh", "--due", "--json"))["tables"] == []


def test_force_copies_what_has_not_changed(environment, source):
    source.write(three_weeks())
    refresh_all(environment)

    unforced = json.loads(output("refresh", "--table", QUERIES, *RANGE, "--json"))
    forced = json.loads(output("refresh", "--table", QUERIES, *RANGE, "--force", "--json"))

    (left,), (copied,) = unforced["tables"], forced["tables"]
    assert (left["status"], left["copied"], left["skipped"], left["rows"]) == ("success", 0, 3, 0)
    assert (copied["copied"], copied["rows"], copied["unchanged"]) == (3, 12, 12)
    assert log()[-1][0] == forced["run_ids"][0]


def test_force_without_weeks_takes_every_published_period_and_names_what_it_leaves_out(
    environment, source, monkeypatch
):
    source.write(three_weeks())
    refresh_all(environment)
    execute(environment.database_url, "UPDATE sqp.monthly_summary SET ctr = 99")
    planned = json.loads(output("plan", "--table", "monthly_summary", "--force", "--json"))

    done = sqp_refresh("refresh", "--table", "monthly_summary", "--force")

    assert (done.returncode, done.stderr) == (0, "")
    assert {"2025-07-01", "2025-08-01"} <= {period["period"] for period in planned}
    expected = oracle.expected_tables(three_weeks())["monthly_summary"]
    oracle.assert_equal(read_tables(environment)["monthly_summary"], expected)

    monkeypatch.setenv("REFRESH_START_DATE", str(MIDDLE))
    later = sqp_refresh("plan", "--table", "monthly_summary", "--force")

    assert later.stderr == (
        "monthly_summary: 2025-07-01 left out, which lies before REFRESH_START_DATE 2025-08-03\n"
    )
    assert "2025-07-01" not in later.stdout


# -- the kill switch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "table", "why"),
    [
        ("stop", QUERIES, "was stopped"),
        ("disable", QUERIES, "is disabled"),
        ("stop", "--all", "stopped"),
    ],
)
def test_a_refresh_in_flight_stops_at_its_next_week(environment, source, command, table, why):
    source.write(three_weeks())
    disturbed = DisturbedAfterAWeek(environment, partial(sqp_refresh, command, table))

    with pytest.raises(Stopped, match=why):
        refreshed("r", source=disturbed)

    published = rows(environment.database_url, f"SELECT DISTINCT start_date FROM sqp.{QUERIES}")
    assert published == [(FIRST,)]
    assert [entry[:2] for entry in log()] == [("r", "failed")]
    if command == "disable":
        assert output("enable", table) == f"enabled {table}"
    assert list(refreshed("next").periods) == WEEKS[1:]


def test_a_run_that_is_stopped_between_two_tables_begins_no_other(environment, source):
    source.write(three_weeks())
    refreshed("r", source=BigQuerySource(environment, DAILY_SQP_DATA, WEEKS))

    assert output("stop", "--all") == "nothing is being refreshed"

    with pytest.raises(Stopped, match="stopped by an operator"):
        refreshed("r")
    assert list(refreshed("next").periods) == WEEKS


@pytest.mark.parametrize(
    ("stopped", "stops"), [(QUERIES, True), ("--all", True), ("daily_sqp_data", False)]
)
def test_a_refresh_that_has_not_come_to_its_first_week_is_stopped(
    environment, source, stopped, stops
):
    source.write(three_weeks())
    execute(
        environment.database_url,
        "INSERT INTO sqp.webhook_configs (name, url) VALUES ('on-call', 'https://example.com')",
    )
    early = DisturbedBeforeTheFirstWeek(environment, partial(sqp_refresh, "stop", stopped))

    with pytest.raises(Stopped, match="by an operator") if stops else nullcontext():
        refreshed("r", source=early)

    assert [entry[:2] for entry in log()] == [("r", "failed" if stops else "success")]
    severities = rows(
        environment.database_url, "SELECT payload->>'severity' FROM sqp.webhook_deliveries"
    )
    assert severities == [("low",)]


def test_tables_are_disabled_and_enabled(environment):
    everything = enabled(environment)

    assert output("disable", QUERIES, "daily_sqp_data") == f"disabled daily_sqp_data, {QUERIES}"
    assert enabled(environment) == everything - {QUERIES, "daily_sqp_data"}
    assert output("disable", "--all").startswith("disabled ")
    assert enabled(environment) == set()
    assert output("disable", "--all") == "already disabled"
    assert "sqp-refresh enable --all" in one_line(sqp_refresh("refresh"))
    output("enable", "--all")
    assert enabled(environment) == everything == set(TABLES)


def test_where_nothing_is_at_work_there_is_nothing_to_stop(environment):
    assert output("stop", "--all") == "nothing is being refreshed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("disable",), "name one or more tables, or all of them with --all"),
        (("stop", QUERIES, "--all"), "name one or more tables, or all of them with --all"),
        (("enable", "nope"), "there is no table 'nope' in sqp.refresh_config; choose from "),
        (("register", "nope"), "there is no table sqp.nope"),
        (("register", QUERIES, "--source", "x", "--column", "y"), "must be TITLE=COLUMN"),
        (("plan", "--table", "nope"), "there is no table 'nope'; choose from "),
    ],
)
def test_bad_arguments_are_one_line(environment, arguments, message):
    assert message in one_line(sqp_refresh(*arguments))


# -- register and doctor ---------------------------------------------------------------------------


VOLUMES = """
CREATE TABLE sqp.volumes (
    asin text, query text, week date, volume bigint NOT NULL, PRIMARY KEY (asin, query, week)
)
"""


def test_a_table_is_registered_and_refreshed_by_its_name(environment, source):
    source.write(three_weeks())
    execute(environment.database_url, VOLUMES)
    columns = ("Child ASIN=asin", "Search Query=query", "Date=week", "Search Query Volume=volume")

    printed = output(
        *("register", "volumes", "--source", environment.BIGQUERY_SOURCE_TABLE),
        *("--key", "asin", "--key", "query", "--key", "week", "--week-column", "Date"),
        *(word for column in columns for word in ("--column", column)),
        *("--after", QUERIES),
    )
    outcome = json.loads(output("refresh", "--table", "volumes", *RANGE, "--json"))

    assert printed.startswith("sqp.volumes is registered and becomes an asset")
    (table,) = outcome["tables"]
    assert (table["table"], table["copied"], table["inserted"]) == ("volumes", 3, 12)

    url = environment.database_url
    execute(
        url,
        "INSERT INTO sqp.refresh_pins (table_name, period_start, reason)"
        f" VALUES ('volumes', '{FIRST}', 'a test')",
    )
    assert "is part of every installation" in one_line(sqp_refresh("unregister", QUERIES))
    assert output("unregister", "volumes").startswith("sqp.volumes is not registered any more")
    assert "there is no table 'volumes'" in one_line(sqp_refresh("unregister", "volumes"))
    assert rows(url, "SELECT count(*) FROM sqp.volumes") == [(12,)]
    for relation in ("refresh_periods", "refresh_pins", "refresh_config"):
        assert rows(url, f"SELECT FROM sqp.{relation} WHERE table_name = 'volumes'") == [], relation


def test_a_table_is_configured_by_what_is_valid_alone(migrated_database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", migrated_database)
    entry = (
        "SELECT priority, refresh_frequency_hours, custom_sync_params FROM sqp.refresh_config"
        " WHERE table_name = 'daily_sqp_data'"
    )
    configure = partial(sqp_refresh, "configure", "daily_sqp_data")

    printed = output(
        *("configure", "daily_sqp_data", "--priority", "99", "--every", "168"),
        *("--batch-size", "20000", "--lookback-weeks", "12", "--max-delete-ratio", "0.8"),
        *("--writers", "3"),
        *("--threshold", "volume_ratio=0.3:3", "--threshold", "quarantined_ratio=:0.05"),
    )

    quality = {"volume_ratio": {"min": 0.3, "max": 3}, "quarantined_ratio": {"max": 0.05}}
    params = {"batch_size": 20000, "lookback_weeks": 12, "writers": 3, "max_delete_ratio": 0.8}
    changed = [(99, 168, params | {"quality": quality})]
    assert rows(migrated_database, entry) == changed
    assert printed.startswith("daily_sqp_data: priority 99, every 168 hours, ")
    assert output("configure", "daily_sqp_data") == printed

    wrong = {
        ("--threshold", "volume=1:2"): "a quality threshold for 'volume'; choose from",
        ("--threshold", "volume_ratio=a:2"): "'volume_ratio=a:2' must be METRIC=MIN:MAX",
        ("--threshold", "volume_ratio=:"): "must be METRIC=MIN:MAX",
        ("--unset", "key"): "--unset knows no 'key'; choose from batch_size",
    }
    for words, message in wrong.items():
        assert message in one_line(configure(*words)), words
    assert "there is no table 'nothing'" in one_line(sqp_refresh("configure", "nothing"))
    for words in (("--every", "0"), ("--batch-size", "-1"), ("--max-delete-ratio", "1.5")):
        assert configure(*words).returncode == 2, words
    assert rows(migrated_database, entry) == changed

    output("configure", "daily_sqp_data", "--unset", "quality", "--unset", "batch_size")
    output("configure", "daily_sqp_data", "--threshold", "volume_ratio=0.5:")
    ((_, _, left),) = rows(migrated_database, entry)
    assert left == {
        "lookback_weeks": 12,
        "writers": 3,
        "max_delete_ratio": 0.8,
        "quality": {"volume_ratio": {"min": 0.5}},
    }


def test_the_version_is_printed():
    assert output("--version") == f"sqp-refresh {__version__}"


def test_a_doctor_finds_nothing_then_what_is_wrong(environment, source):
    source.write(three_weeks())
    refresh_all(environment)
    lines = [line.split(": ")[0].split(maxsplit=1) for line in output("doctor").splitlines()]
    assert {mark for mark, _ in lines} == {"ok"}
    assert [subject for _, subject in lines] == [
        *("settings", "postgres", "registry", "privileges", "search path", "pooler", "timeouts"),
        *("disk", "clock", "indexes", "triggers", "tables", "bigquery", "bigquery query"),
        "bigquery read",
        *("code location", "daemon"),
    ]

    execute(
        environment.database_url,
        "DELETE FROM sqp.refresh_dependencies WHERE dependent_config_id ="
        " (SELECT id FROM sqp.refresh_config WHERE table_name = 'yearly_summary')",
    )
    execute(environment.database_url, "ALTER TABLE sqp.daily_sqp_data DROP COLUMN ctr")
    source.replace(three_weeks(), without=["Child ASIN"])

    done = sqp_refresh("doctor", "--json")

    assert done.returncode == 1
    diagnoses = json.loads(done.stdout)
    wrong = {row["about"]: row["said"] for row in diagnoses if not row["ok"]}
    assert wrong.keys() == {"postgres", "registry", "bigquery"}
    assert wrong["postgres"].startswith("sqp.daily_sqp_data lacks column ctr; ALTER TABLE ")
    assert "yearly_summary" in wrong["registry"]
    assert "Child ASIN" in wrong["bigquery"]
