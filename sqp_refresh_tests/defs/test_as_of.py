"""The instant that a run reads BigQuery as of: one for all tables, and to be seen in its tags."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import dagster as dg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from sqp_refresh.definitions import build_definitions, defs
from sqp_refresh.defs.in_process_run import run_daily_refresh
from sqp_refresh.defs.partitions import (
    AS_OF_TAG,
    SOURCE_AS_OF_TAG,
    range_tags,
    tags_of_work,
)
from sqp_refresh.defs.run_instant import decide
from sqp_refresh.defs.run_requests.code_location import is_of, is_of_command
from sqp_refresh.defs.run_requests.scheduled import asset_keys
from sqp_refresh.extract.client import AnswerDate, ServerTime
from sqp_refresh.model.periods import Period
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh_tests.helpers.nights import queries
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import LAST

SOURCE = dg.AssetKey(["bigquery", "seller-search_query_performance"])
TABLES = ("search_query_performance", "daily_sqp_data")


@pytest.fixture
def run(instance, environment, source) -> Callable[..., dg.DagsterRun]:
    """Refreshes two tables, and returns the run as the instance has it afterwards."""
    source.write([row(day=LAST)])

    def run_job(**tags: str) -> dg.DagsterRun:
        result = (
            defs()
            .resolve_job_def("daily_refresh")
            .execute_in_process(
                instance=instance,
                tags=range_tags(str(LAST), str(LAST)) | tags,
                asset_selection=asset_keys(TABLES),
            )
        )
        return instance.get_run_by_id(result.run_id)

    return run_job


def started(instance: dg.DagsterInstance, run_id: str) -> datetime:
    record = instance.get_run_record_by_id(run_id)
    assert record
    assert record.start_time
    return datetime.fromtimestamp(record.start_time, UTC)


def as_of(run: dg.DagsterRun) -> datetime:
    return datetime.fromisoformat(run.tags[AS_OF_TAG])


def instants_queried(environment) -> set[datetime]:
    text = "".join(queries(environment))
    instants = re.findall(r"FOR SYSTEM_TIME AS OF TIMESTAMP '(.+?)'", text)
    return {datetime.fromisoformat(instant) for instant in instants}


def test_a_run_reads_as_of_its_start_which_is_in_its_tags(run, instance, environment):
    done = run()

    assert as_of(done) == started(instance, done.run_id)
    assert as_of(done).tzinfo == UTC
    assert instants_queried(environment) == {as_of(done)}

    # Launched again with the same tags, it reads as of its own start.
    by_hand = run(**done.tags, **{"dagster/parent_run_id": done.run_id})

    assert as_of(by_hand) == started(instance, by_hand.run_id) > as_of(done)
    assert AS_OF_TAG not in tags_of_work(done.tags)


@pytest.mark.parametrize("ahead", [timedelta(minutes=10), timedelta(days=-1)])
def test_where_clocks_differ_a_run_reads_as_of_bigquery_s_time(
    run, instance, environment, monkeypatch, ahead
):
    asked = []

    def time(_):
        asked.append(datetime.now(UTC))
        return ServerTime(asked[-1], ahead)

    monkeypatch.setattr(AnswerDate, "time", property(time))

    done = run()

    # All tables read as of the time when the first of them asked.
    assert as_of(done) == asked[0] > started(instance, done.run_id)
    assert instants_queried(environment) == {asked[0]}
    # So does another process of the run that has asked at the same time.
    assert decide(instance, done.run_id, ServerTime(datetime.now(UTC), ahead)) == asked[0]


def test_the_command_line_s_run_is_tagged_with_the_instant_of_its_first_query(
    environment, source, instance_on_disk
):
    source.write([row(day=LAST)])
    catalog, now, run_id = read_catalog(environment), datetime.now(UTC), str(uuid4())
    weeks = [Period.week_of(LAST)]

    failures = run_daily_refresh(
        build_definitions(environment, catalog),
        environment,
        catalog,
        weeks,
        TABLES,
        [run_id],
        as_of=now,
    )

    assert failures == {}
    run = instance_on_disk.get_run_by_id(run_id)
    assert run
    assert as_of(run) == now
    assert instants_queried(environment) == {now}
    assert_on_the_job_s_page(instance_on_disk, run)
    assert_observed_once(instance_on_disk, run)
    assert_observed_on_purpose(instance_on_disk)


def assert_on_the_job_s_page(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """The job's page asks for the label of its code location, the timeline for the origin."""
    of_job = dg.RunsFilter(
        job_name="daily_refresh", tags={".dagster/repository": "__repository__@sqp_refresh"}
    )
    (record,) = instance.get_run_records(of_job)
    assert record.dagster_run.run_id == run.run_id
    assert record.start_time
    assert record.end_time
    assert record.dagster_run.remote_job_origin
    assert record.dagster_run.remote_job_origin.location_name == "sqp_refresh"
    assert is_of_command(run)
    assert is_of("whatever it is called", run)


def assert_observed_once(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    """Two tables read the source; one of them says what it held, and neither looks stale."""
    (observed,) = instance.fetch_observations(SOURCE, limit=9).records
    observation = observed.asset_observation
    assert observation
    assert observed.run_id == run.run_id
    shown = {name: value.value for name, value in observation.metadata.items()}
    assert shown["sqp/rows_in_weeks"] == shown["dagster/row_count"] == 1
    assert shown["sqp/newest_week"] == str(LAST)
    assert observation.tags["dagster/data_version"]
    graph = defs().resolve_asset_graph()
    stale = CachingStaleStatusResolver(instance, graph, LoadingContextForTest(instance))
    for table in TABLES:
        assert not stale.get_stale_causes(dg.AssetKey(["sqp", table]), str(LAST))


def assert_observed_on_purpose(instance: dg.DagsterInstance) -> None:
    """The button Observe finds what the night has found."""
    job = dg.define_asset_job("look", selection=dg.AssetSelection.assets(SOURCE))
    done = job.resolve(asset_graph=defs().resolve_asset_graph()).execute_in_process(
        instance=instance, tags=range_tags(str(LAST), str(LAST))
    )

    assert len(done.get_asset_observation_events()) == 1
    ours, of_night = (
        record.asset_observation for record in instance.fetch_observations(SOURCE, limit=9).records
    )
    assert ours
    assert of_night
    assert ours.tags["dagster/data_version"] == of_night.tags["dagster/data_version"]
    assert ours.metadata == of_night.metadata


def test_a_re_run_reads_as_of_the_instant_that_a_person_wants():
    tags = {SOURCE_AS_OF_TAG: "2025-08-17T02:00:00+00:00", AS_OF_TAG: "2025-08-17T02:00:00+00:00"}

    assert tags_of_work(tags) == {SOURCE_AS_OF_TAG: tags[SOURCE_AS_OF_TAG]}
