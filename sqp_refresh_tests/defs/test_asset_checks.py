"""The checks as Dagster runs them: with every refresh, over a range of weeks, and alone."""

from collections.abc import Mapping
from datetime import date, timedelta

import dagster as dg
import pytest

from sqp_refresh.checks.metrics import METRICS
from sqp_refresh.definitions import defs
from sqp_refresh.defs.partitions import range_tags
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.audit_log import audit
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import tolerate
from sqp_refresh_tests.helpers.nights import read_tables
from sqp_refresh_tests.helpers.rows import Row, row
from sqp_refresh_tests.helpers.weeks import LAST

QUERIES = "search_query_performance"
SUMMARY = "weekly_summary"
ASINS = "asin_performance_data"
SUNDAYS = [LAST - timedelta(weeks=before) for before in range(5, -1, -1)]

Evaluations = dict[tuple[str, str], dg.AssetCheckEvaluation]
"""By table and name."""

WATERED_DOWN = f"""
CREATE FUNCTION sqp.add_a_click() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.asin_click_count := NEW.asin_click_count + 1; RETURN NEW; END $$;
CREATE TRIGGER add_a_click BEFORE INSERT ON sqp.{QUERIES} FOR EACH ROW
    WHEN (NEW.start_date = '{LAST}') EXECUTE FUNCTION sqp.add_a_click();
"""


def six_weeks(**changes: object) -> list[Row]:
    return [
        row(day=day, query=query, **changes)  # type: ignore[arg-type]
        for day in SUNDAYS
        for query in ("blue widget", "red widget")
    ]


def run(
    instance: dg.DagsterInstance, *tables: str, first: date = SUNDAYS[0]
) -> dg.ExecuteInProcessResult:
    return (
        defs()
        .resolve_job_def("daily_refresh")
        .execute_in_process(
            instance=instance,
            tags=range_tags(str(first), str(LAST)),
            asset_selection=asset_keys(tables),
            raise_on_error=False,
        )
    )


def evaluations(result: dg.ExecuteInProcessResult) -> Evaluations:
    made = result.get_asset_check_evaluations()
    return {(check.asset_key.path[-1], check.check_name): check for check in made}


def by_period(evaluation: dg.AssetCheckEvaluation) -> Mapping[tuple[str, str], str]:
    table = evaluation.metadata["sqp/by_period"]
    assert isinstance(table, dg.TableMetadataValue)
    return {
        (str(record.data["period"]), str(record.data["metric"])): str(record.data["verdict"])
        for record in table.records
    }


def materialized(result: dg.ExecuteInProcessResult) -> set[str]:
    return {
        event.asset_key.path[-1]
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def weeks_materialized(result: dg.ExecuteInProcessResult) -> dict[str, dict[str, int]]:
    """Return the rows of each week, as its materialization tells them, by table."""
    weeks: dict[str, dict[str, int]] = {}
    for event in result.get_asset_materialization_events():
        rows_of_week = event.materialization.metadata["dagster/partition_row_count"].value
        assert event.asset_key
        assert event.partition
        assert isinstance(rows_of_week, int)
        weeks.setdefault(event.asset_key.path[-1], {})[event.partition] = rows_of_week
    return weeks


@pytest.fixture
def fresh(environment: Settings) -> Settings:
    """The rows of these tests are from years ago."""
    tolerate(environment.database_url, 10_000, "freshness_days")
    return environment


def test_a_week_broken_by_hand_blocks_the_summaries_keeps_the_last_good_and_says_why(
    fresh, source, instance
):
    source.write(six_weeks())
    first = run(instance, QUERIES, ASINS, SUMMARY)
    before = read_tables(fresh)

    assert first.success
    assert weeks_materialized(first)[QUERIES] == {str(day): 2 for day in SUNDAYS}
    judged = evaluations(first)
    assert {table for table, _ in judged} == {QUERIES, ASINS, SUMMARY}
    assert all(check.passed for check in judged.values())
    verdicts = by_period(judged[QUERIES, "sums_match_source"])
    assert set(verdicts.values()) == {"PASS"}
    assert {week for week, _ in verdicts} == set(map(str, SUNDAYS))
    assert_tied_to_the_audit_row(fresh)
    overview = rows(fresh.database_url, "SELECT * FROM sqp.data_quality_overview")
    assert {name for name, _, _ in overview} == METRICS.keys()
    assert {passed for _, passed, _ in overview} == {100}

    broken = [
        row | {"ASIN Click Count": row["Total Click Count"] + 1} if row["Date"] == LAST else row
        for row in six_weeks()
    ]
    source.replace(broken)
    second = run(instance, QUERIES, ASINS, SUMMARY)

    assert not second.success
    assert read_tables(fresh) == before
    good = {str(day): 2 for day in SUNDAYS if day != LAST}
    assert weeks_materialized(second) == {QUERIES: good, ASINS: dict.fromkeys(good, 1)}
    node = defs().resolve_asset_graph().get(dg.AssetKey(["sqp", QUERIES]))
    assert node.partitions_def
    statuses = instance.get_status_by_partition(node.key, list(good), node.partitions_def)
    assert statuses
    assert {status and status.value for status in statuses.values()} == {"MATERIALIZED"}
    (failed,) = (
        instance.get_status_by_partition(node.key, [str(LAST)], node.partitions_def) or {}
    ).values()
    assert failed
    assert failed.value == "FAILED"
    status, message, details, _ = audit(fresh)
    assert (status, list(details["rejected"])) == ("failed", [str(LAST)])
    assert message is not None
    assert "ASIN Click Count is above Total Click Count (2)" in message
    messages = {
        event.step_key: str(event.step_failure_data.error)
        for event in second.all_events
        if event.is_step_failure
    }
    assert messages.keys() == {f"sqp__{QUERIES}", f"sqp__{ASINS}"}
    assert message in messages[f"sqp__{QUERIES}"]


def assert_tied_to_the_audit_row(settings: Settings) -> None:
    """Each table's metrics belong to its own run, with what was expected of them."""
    recorded = rows(
        settings.database_url,
        "SELECT run.table_name, metric_value::int, expected_value::int, is_within_threshold"
        " FROM sqp.refresh_data_quality AS quality"
        " JOIN sqp.refresh_audit_log AS run ON run.id = quality.audit_log_id"
        " WHERE metric_name = 'row_count' ORDER BY 1",
    )
    assert recorded == [(ASINS, 6, 6, True), (QUERIES, 12, 12, True), (SUMMARY, 12, 12, True)]


def test_a_table_that_does_not_equal_its_source_blocks_what_is_below_until_it_is_mended(
    fresh, source, instance
):
    source.write(six_weeks())
    execute(fresh.database_url, WATERED_DOWN)

    first = run(instance, QUERIES, SUMMARY)

    assert not first.success
    assert materialized(first) == {QUERIES}
    judged = evaluations(first)
    failed = [name for (_, name), check in judged.items() if not check.passed]
    assert failed == ["sums_match_source", "columns_match_source"]
    check = judged[QUERIES, "sums_match_source"]
    assert check.blocking
    assert check.severity is dg.AssetCheckSeverity.ERROR
    assert check.description == (f"sum_asin_click_count is 12 in {LAST} where the source says 10")
    verdicts = by_period(check)
    assert verdicts[str(LAST), "sum_asin_click_count"] == "FAIL"
    assert list(verdicts.values()).count("FAIL") == 1
    columns = judged[QUERIES, "columns_match_source"].description
    assert columns is not None
    assert columns.endswith("(asin_click_count)")
    status, message, _, metadata = audit(fresh)
    assert status == "warning"
    assert message is not None
    assert f"sum_asin_click_count of {LAST} is 12, should be 10" in message
    assert metadata["reconciliation"]["columns"] == {str(LAST): ["asin_click_count"]}
    assert metadata["reconciliation"]["weeks"] == {
        str(day): "FAIL" if day == LAST else "PASS" for day in SUNDAYS
    }

    execute(fresh.database_url, "DROP FUNCTION sqp.add_a_click() CASCADE")
    second = run(instance, QUERIES, SUMMARY)

    assert second.success
    assert audit(fresh)[3]["reasons"][str(LAST)] == "it did not equal the source"
    assert materialized(second) == {QUERIES, SUMMARY}


def test_checks_are_made_alone_over_the_weeks_that_are_named(fresh, source, instance):
    source.write(six_weeks())
    assert run(instance, QUERIES).success
    execute(
        fresh.database_url,
        f"DELETE FROM sqp.{QUERIES} WHERE start_date = '{LAST}' AND search_query = 'red widget'",
    )
    runs = len(rows(fresh.database_url, "SELECT id FROM sqp.refresh_audit_log"))
    check = dg.AssetCheckKey(dg.AssetKey(["sqp", QUERIES]), "row_count_matches_source")

    job = dg.define_asset_job("alone", selection=dg.AssetSelection.checks(check))
    result = job.resolve(asset_graph=defs().resolve_asset_graph()).execute_in_process(
        instance=instance,
        tags=range_tags(str(SUNDAYS[-2]), str(LAST)),
        raise_on_error=False,
    )

    (alone,) = result.get_asset_check_evaluations()

    assert alone.check_name == "row_count_matches_source"
    assert alone.description == f"row_count is 1 in {LAST} where the source says 2"
    assert by_period(alone) == {
        (str(SUNDAYS[-2]), "row_count"): "PASS",
        (str(LAST), "row_count"): "FAIL",
    }
    assert len(rows(fresh.database_url, "SELECT id FROM sqp.refresh_audit_log")) == runs
