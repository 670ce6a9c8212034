"""A question is asked in a thread, so that there is time for something else until the answer."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from google.cloud.bigquery import QueryJob

from sqp_refresh.errors import Unavailable
from sqp_refresh.extract import emulator, source_version
from sqp_refresh.extract import source as extract_source
from sqp_refresh.extract.aggregate_result import Excerpt
from sqp_refresh.extract.client import rest_client
from sqp_refresh.extract.query_cache import RunQueries, run_in_thread
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.extract.sql import TABLE, WEEK
from sqp_refresh.model.periods import Period
from sqp_refresh.model.rows import PeriodRows, SourceBatches, SqlRows
from sqp_refresh.model.tables import (
    ASIN_PERFORMANCE_DATA,
    DAILY_SQP_DATA,
    SEARCH_PERFORMANCE_SUMMARY,
    SEARCH_QUERY_PERFORMANCE,
)
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.dry_run import plan, shared_out
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import prefetch_versions, source_for
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh_tests.extract.fake_storage import FakeStorage, serving
from sqp_refresh_tests.helpers.database import execute
from sqp_refresh_tests.helpers.nights import queries, refresh_all
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import FIRST, LAST

SOON_S = 20


def test_the_answer_is_waited_for_only_when_it_is_wanted():
    try_lock = threading.Event()
    answer = run_in_thread(lambda: try_lock.wait(SOON_S) and "five weeks")

    assert not answer.done()
    try_lock.set()

    assert answer.result() == "five weeks"


def test_what_asking_raises_is_raised_as_it_is():
    def question():
        raise Unavailable("BigQuery cannot be reached")

    with pytest.raises(Unavailable, match="BigQuery cannot be reached"):
        run_in_thread(question).result()


def test_whoever_is_interrupted_does_not_wait_for_the_answer():
    program = (
        "import threading\n"
        "from sqp_refresh.extract.query_cache import run_in_thread\n"
        "run_in_thread(threading.Event().wait)\n"
        "raise KeyboardInterrupt\n"
    )

    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=SOON_S
    )

    assert "KeyboardInterrupt" in ended.stderr


def weeks_of_one_row(source):
    source.write([row(day=FIRST)])
    return [Period.week_of(FIRST)]


def whole(part: PeriodRows) -> pa.Table:
    assert not isinstance(part.rows, SourceBatches | SqlRows)
    return part.rows.read_all()


def test_what_there_is_to_do_is_done_while_bigquery_counts(environment, source, monkeypatch):
    weeks, is_done, ask = weeks_of_one_row(source), threading.Event(), source_version._query_state

    def slowly(*question):
        assert is_done.wait(SOON_S), "nothing was done meanwhile"
        return ask(*question)

    monkeypatch.setattr(source_version, "_query_state", slowly)
    bigquery_source = BigQuerySource(environment, DAILY_SQP_DATA, weeks, while_waiting=is_done.set)
    with connect(environment.database_url) as session:
        states = bigquery_source.versions(session, weeks)

    assert [known.rows for known in states.values()] == [1]


def test_a_question_is_asked_once_however_many_tables_want_to_know(environment, source):
    weeks, instant = weeks_of_one_row(source), datetime.now(UTC)
    shared = RunQueries()
    tables = [SEARCH_PERFORMANCE_SUMMARY, DAILY_SQP_DATA]
    prefetch_versions(environment, tables, weeks, instant, shared)

    rows, billed = [], []
    with connect(environment.database_url) as session:
        for table in (DAILY_SQP_DATA, SEARCH_QUERY_PERFORMANCE):
            bigquery_source = BigQuerySource(environment, table, weeks, instant, shared)
            rows += [known.rows for known in bigquery_source.versions(session, weeks).values()]
            billed.append(bigquery_source.stats.bytes_billed)

    assert rows == [1, 1]
    # Whoever wants to know first has it on the bill.
    assert [cost is None for cost in billed] == [False, True]
    # What the weeks hold, and the rows without a date.
    assert len(queries(environment)) == 2


def test_what_two_tables_are_aggregated_from_is_read_once(environment, source):
    weeks, instant = weeks_of_one_row(source), datetime.now(UTC)

    results, shared = {}, RunQueries()
    for table in (ASIN_PERFORMANCE_DATA, DAILY_SQP_DATA):
        bigquery_source = BigQuerySource(environment, table, weeks, instant, shared)
        (read,) = [whole(part) for part in bigquery_source.read(weeks)]
        results[table.name] = (
            bigquery_source.stats.job_id,
            bigquery_source.stats.bytes_billed is not None,
            read,
        )

    (asin_job, asin_billed, asins), (day_job, day_billed, days) = results.values()
    assert (asin_job, asin_billed) == (day_job, not day_billed)
    assert len(queries(environment)) == 1
    assert asins.num_rows == days.num_rows == 1
    assert days.column("report_date").to_pylist() == [FIRST]
    assert "report_date" not in asins.column_names
    assert "product_title" in asins.column_names
    assert "product_title" not in days.column_names


@pytest.fixture
def billed(environment, monkeypatch):
    """What a plan says that reading both tables bills by week, where a query bills seven bytes.

    Each of them is asked for once.
    """
    asked = []

    def bytes_to_read(source, periods):
        asked.append((source.table.name, tuple(periods)))
        return 7

    monkeypatch.setattr(BigQuerySource, "bytes_to_read", bytes_to_read)

    def planned(
        weeks, settings=environment, names=(ASIN_PERFORMANCE_DATA.name, DAILY_SQP_DATA.name)
    ):
        results = plan(settings, read_catalog(settings), names, weeks)
        billed = [(entry.table, entry.bytes) for entry in results if entry.reason.loads]
        assert len(asked) == len(dict(asked))
        return billed

    return planned


def test_a_plan_bills_a_query_for_both_tables_once(source, billed):
    weeks = weeks_of_one_row(source)

    assert billed(weeks) == [("asin_performance_data", 7), ("daily_sqp_data", 0)]


def test_a_plan_bills_each_query_of_a_view(environment, source, billed):
    weeks = weeks_of_one_row(source)
    source.make_view("seller_view", with_schema=True)
    of_view = environment.model_copy(update={"BIGQUERY_SOURCE_TABLE": "seller_view"})

    assert billed(weeks, of_view) == [("asin_performance_data", 7), ("daily_sqp_data", 7)]


def test_a_plan_bills_both_queries_where_the_tables_need_other_weeks(environment, source, billed):
    weeks = weeks_of_one_row(source)
    refresh_all(environment, FIRST, FIRST)
    source.replace([row(day=FIRST), row(day=LAST)])
    execute(environment.database_url, "DELETE FROM sqp.daily_sqp_data")

    results = billed([*weeks, Period.week_of(LAST)])

    assert results == [("asin_performance_data", 7), ("daily_sqp_data", 3), ("daily_sqp_data", 4)]


def test_a_week_between_two_that_are_read_is_not_on_the_bill(environment, source, billed):
    name, three = SEARCH_QUERY_PERFORMANCE.name, [FIRST, FIRST + timedelta(days=7), LAST]
    source.write([row(day=week) for week in three])
    weeks = [Period.week_of(week) for week in three]
    middle = source_for(environment, SEARCH_QUERY_PERFORMANCE, weeks[1:2])
    refresh(environment.database_url, middle, RefreshRequest("middle"))

    # Of the seven bytes of three weeks, two are those of the one that is there.
    assert billed(weeks, names=[name]) == [(name, 2), (name, 3)]


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [(7, [1, 1], [3, 4]), (10, [0, 3, 1], [0, 7, 3]), (9, [0, 0, 0], [3, 3, 3]), (0, [5], [0])],
)
def test_bytes_are_shared_out_by_rows_and_add_up(total, weights, parts):
    assert shared_out(total, weights) == parts


def test_of_a_result_table_only_what_is_wanted_is_read(environment, monkeypatch):
    result = pa.table({TABLE: ["daily_sqp_data"], "asin": ["B000000001"]})
    storage = FakeStorage(result)
    made = {"projectId": "p", "datasetId": "d", "tableId": "result"}
    job = QueryJob.from_api_repr(
        {
            "jobReference": {"projectId": "p", "jobId": "a job"},
            "configuration": {"query": {"query": "SELECT 1", "destinationTable": made}},
        },
        rest_client(environment),
    )
    monkeypatch.setattr(emulator, "is_emulated", lambda _: False)

    with serving(storage) as host:
        at_host = environment.model_copy(update={"BIGQUERY_STORAGE_EMULATOR_HOST": host})
        bigquery_source = BigQuerySource(at_host, DAILY_SQP_DATA, [Period.week_of(FIRST)])
        with bigquery_source._result(job, Excerpt.for_table(DAILY_SQP_DATA)) as (schema, batches):
            assert pa.Table.from_batches(batches, schema) == result

    (asked_for,) = (request.read_session for request in storage.sessions)
    assert asked_for.table == "projects/p/datasets/d/tables/result"
    assert asked_for.read_options.row_restriction == f"{TABLE} = 'daily_sqp_data'"
    selected = [TABLE, WEEK, "report_date", "marketplace", "asin"]
    assert list(asked_for.read_options.selected_fields)[:5] == selected


def test_the_rows_of_other_weeks_or_of_another_instant_are_asked_for_themselves(
    environment, source
):
    weeks, instant = weeks_of_one_row(source), datetime.now(UTC)
    others = [*weeks, Period.week_of(LAST)]
    later, shared = datetime.now(UTC), RunQueries()

    for asked_for, of in ((weeks, instant), (others, instant), (others, later), (weeks, instant)):
        bigquery_source = BigQuerySource(environment, DAILY_SQP_DATA, asked_for, of, shared)
        assert len(list(bigquery_source.read(asked_for))) == len(asked_for)

    assert len(queries(environment)) == 3


def test_a_question_that_failed_is_asked_anew(environment, source, monkeypatch):
    weeks = weeks_of_one_row(source)
    bigquery_source = BigQuerySource(environment, DAILY_SQP_DATA, weeks, datetime.now(UTC))

    def states():
        with connect(environment.database_url) as session:
            return list(bigquery_source.versions(session, weeks).values())

    def fail(*_):
        raise Unavailable("BigQuery cannot be reached")

    with monkeypatch.context() as broken:
        broken.setattr(source_version, "_query_state", fail)
        with pytest.raises(Unavailable):
            states()

    assert [known.rows for known in states()] == [1]


def test_a_view_is_not_asked_ahead_because_its_answer_could_not_be_used(environment, source):
    weeks = weeks_of_one_row(source)
    source.make_view("seller_view", with_schema=False)
    of_view = environment.model_copy(update={"BIGQUERY_SOURCE_TABLE": "seller_view"})

    prefetch_versions(of_view, [DAILY_SQP_DATA], weeks, datetime.now(UTC), RunQueries())
    for thread in threading.enumerate():
        if thread.name == "bigquery":
            thread.join(SOON_S)

    assert [text for text in queries(environment) if "digest" in text] == []


@pytest.mark.parametrize("error", [Unavailable("BigQuery is away"), PermissionError("key.json")])
def test_what_goes_wrong_ahead_is_left_to_the_refresh(environment, source, monkeypatch, error):
    weeks, tried = weeks_of_one_row(source), []

    def fail(*_):
        tried.append(error)
        raise error

    monkeypatch.setattr(extract_source, "describe", fail)

    prefetch_versions(environment, [DAILY_SQP_DATA], weeks, datetime.now(UTC), RunQueries())

    assert tried == [error]
