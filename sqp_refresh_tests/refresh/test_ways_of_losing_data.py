"""What loaders of this report have done wrong before; each test fails if it comes back.

What is held elsewhere, by the name of its file:

    test_dirty_rows        an unreadable value stops the load; a key half missing lands unseen
    test_quality           two scales in one column; a schema that changed is guessed at
    test_refresh           an empty source is a success; a null becomes 0; columns that do not exist
    test_resume            a page without a checkpoint is read for ever; rows "running" for ever
    test_materialize       an error returned as a value counts as success; two schedules at once
    test_definitions       three schedules, or tables that nothing refreshes
    test_targets           views and inserts whose columns were guessed
    test_settings          a dataset with a stray period; a project that is not set
    test_oracle            ratios averaged, flipped between percent and fraction, or made up
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.demo.year import SUNDAYS, week_of_rows
from sqp_refresh.errors import DataError, NotFound, RefreshError
from sqp_refresh.extract.bigquery_table import BigQueryTable
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.extract.source_version import state_query, undated_query
from sqp_refresh.extract.sql import aggregate_query, rows_query
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import (
    DAILY_SQP_DATA,
    SEARCH_QUERY_PERFORMANCE,
    SOURCE_COLUMNS,
    SQP_REPORT,
    TABLES,
    aggregated_from,
)
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.lookback import weeks_of_night
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.registry.table_description import describe_tables
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import Delivery, deliver, tolerate
from sqp_refresh_tests.helpers.rows import row, source_table

SUNDAY = date(2025, 8, 10)
WEEK = Period.week_of(SUNDAY)
BEFORE = date(2025, 8, 3)


@pytest.fixture
def url(migrated_database: str) -> str:
    return migrated_database


def held(url: str, columns: str = "asin, search_query") -> list[tuple]:
    query = f"SELECT {columns} FROM sqp.search_query_performance ORDER BY 1, 2"
    return rows(url, query)


def rolled_up(url: str, table: str, *weeks: date) -> None:
    touched = [Period.week_of(week) for week in weeks]
    refresh(url, RollupSource(TABLES[table], touched), RefreshRequest("rollup", force=True))


def queries() -> Iterator[str]:
    types = {column.title: "INTEGER" for column in SOURCE_COLUMNS} | {"Date": "TIMESTAMP"}
    types |= {column.title: "STRING" for column in SOURCE_COLUMNS if column.type == "text"}
    source = BigQueryTable("p.d.t", SQP_REPORT, types, datetime(2025, 8, 20, tzinfo=UTC))
    yield from (rows_query(source), state_query(source), undated_query(source))
    yield aggregate_query(source, aggregated_from(SQP_REPORT))


def test_a_column_in_double_quotes_is_read_as_a_text():
    for query in queries():
        assert '"' not in query


def test_pages_by_limit_and_offset_overlap_and_skip_rows():
    for query in queries():
        assert not {"LIMIT", "OFFSET"} & set(query.upper().split())


def test_a_week_larger_than_any_page_loses_its_end(url):
    week = week_of_rows(SUNDAYS[0])
    place = week.schema.get_field_index("Marketplace")
    parts = [
        week.set_column(place, "Marketplace", pa.array([name] * week.num_rows))
        for name in ("US", "DE", "UK")
    ]
    batches = pa.concat_tables(parts).to_batches(max_chunksize=1000)

    summary = refresh(url, Delivery({Period.week_of(SUNDAYS[0]): batches}), RefreshRequest("large"))

    assert summary.counts.inserted == 3 * week.num_rows > 10_000
    assert rows(url, "SELECT count(*) FROM sqp.search_query_performance") == [(3 * week.num_rows,)]


def test_an_asin_of_eleven_characters_stops_the_whole_load(url):
    tolerate(url, 0.5)

    summary = deliver(url, [row(), row(asin="B0000000001")])

    assert (summary.counts.inserted, summary.counts.quarantined) == (1, 1)


@pytest.mark.parametrize("days", [27, 40, 56])
def test_a_look_back_shorter_than_the_lag_sees_nothing_new(days):
    tick = datetime(2025, 9, 5, 2, tzinfo=UTC)
    week = Period.week_of(tick.date() - timedelta(days=days))

    assert week in weeks_of_night(Settings.read(), [], tick)


def test_a_row_that_is_dropped_on_its_way_counts_as_done(url):
    execute(
        url,
        """
        CREATE FUNCTION sqp.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER nothing BEFORE INSERT ON sqp.search_query_performance FOR EACH ROW
            WHEN (NEW.search_query = 'red widget') EXECUTE FUNCTION sqp.nothing()
        """,
    )

    with pytest.raises(DataError, match="2 rows were read, but 1 landed"):
        deliver(url, [row(), row(query="red widget")])

    assert held(url) == []


def test_a_computed_column_refuses_the_whole_batch(url):
    execute(url, "CREATE TABLE sqp.t (a int PRIMARY KEY, b int GENERATED ALWAYS AS (2 * a) STORED)")

    with connect(url) as session:
        assert describe_tables(session, ["t"])["t"].types.keys() == {"a"}


def test_a_duplicate_takes_the_rest_of_its_batch_with_it(url):
    summary = deliver(url, [row(), row(), row(volume=900), row(query="red widget")])

    assert (summary.counts.inserted, summary.counts.superseded) == (2, 2)
    assert [query for _, query in held(url)] == ["blue widget", "red widget"]


def test_children_of_one_parent_overwrite_each_other(url):
    children = ["B000000001", "B000000002", "B000000003"]

    deliver(url, [row(asin=child, parent_asin="B00PARENT1") for child in children])

    assert [asin for asin, _ in held(url)] == children


def test_the_markets_totals_are_filled_with_the_asins_own(url):
    deliver(url, [row(impressions=(20_110, 230))])

    assert held(url, "total_query_impression_count, asin_impression_count") == [(20_110, 230)]


def test_a_restated_week_is_ignored_as_a_duplicate(url):
    deliver(url, [row(clicks=(542, 5))])
    deliver(url, [row(clicks=(542, 6))])

    assert held(url, "asin_click_count, asin_click_share") == [(6, Decimal("1.1100"))]


def test_what_is_unknown_becomes_zero(url):
    deliver(url, [row({"Search Query Volume": None}, clicks=(0, 0))])

    columns = "search_query_volume, asin_click_share, asin_median_click_price, asin_click_count"
    assert held(url, columns) == [(None, None, None, 0)]


def test_a_second_refresh_adds_its_numbers_to_the_first(url):
    for _ in range(3):
        deliver(url, [row(clicks=(542, 5))])
        rolled_up(url, "weekly_summary", SUNDAY)
        rolled_up(url, "monthly_summary", SUNDAY)

    for table in ("weekly_summary", "monthly_summary"):
        assert rows(url, f"SELECT asin_clicks, weeks_count FROM sqp.{table}") == [(5, 1)]


def test_triggers_and_views_stand_between_a_row_and_its_table(url):
    rows_found = rows(
        url,
        "SELECT relname, relkind::text, relhastriggers, count(*) FROM pg_class"
        f" WHERE relnamespace = 'sqp'::regnamespace AND relname IN {tuple(TABLES)}"
        " GROUP BY 1, 2, 3",
    )

    assert sorted(rows_found) == [(table, "r", False, 1) for table in sorted(TABLES)]


def test_a_month_is_overwritten_by_the_part_of_it_that_was_refreshed(url):
    deliver(url, [row(day=BEFORE, clicks=(542, 5)), row(day=SUNDAY, clicks=(542, 5))])
    rolled_up(url, "monthly_summary", BEFORE, SUNDAY)

    deliver(url, [row(day=SUNDAY, clicks=(542, 7))])
    rolled_up(url, "monthly_summary", SUNDAY)

    rows_found = rows(url, "SELECT period_start, asin_clicks, weeks_count FROM sqp.monthly_summary")
    assert rows_found == [(date(2025, 8, 1), 12, 2)]


def test_a_table_that_was_never_refreshed_is_called_healthy(url):
    deliver(url, [row()])

    with connect(url) as session, pytest.raises(NotFound, match="daily_sqp_data was never refresh"):
        run_checks(session, DAILY_SQP_DATA, None, today=SUNDAY)
    healthy = rows(url, "SELECT table_name FROM sqp.refresh_success_rate")
    assert healthy == [("search_query_performance",)]


def test_a_week_is_stored_as_a_day(url):
    deliver(url, [row(day=date(2025, 8, 13))])

    assert held(url, "start_date, end_date") == [(SUNDAY, date(2025, 8, 16))]


def test_a_failure_half_way_leaves_the_table_empty_or_half_full(url):
    deliver(url, [row(query=f"query {number}") for number in range(3)])
    before = held(url)
    (batch,) = source_table([row(query="new")]).to_batches()

    class BreaksOff(list[pa.RecordBatch]):
        def __iter__(self) -> Iterator[pa.RecordBatch]:
            yield from super().__iter__()
            raise DataError("the source broke off")

    with pytest.raises(DataError, match="broke off"):
        refresh(url, Delivery({WEEK: BreaksOff([batch])}), RefreshRequest("half"))

    assert held(url) == before


def test_an_empty_week_is_a_success_and_wipes_what_was_there(url):
    deliver(url, [row()])

    summary = deliver(url, [], WEEK)

    assert summary.outcome["status"] == "warning"
    assert held(url) == [("B000000001", "blue widget")]


def test_a_refresh_that_cannot_be_logged_goes_on_unlogged(url):
    execute(url, "ALTER TABLE sqp.refresh_audit_log RENAME COLUMN status TO state")

    with pytest.raises(RefreshError):
        deliver(url, [row()])

    assert held(url) == []


def test_a_failure_is_written_down_as_completed(url):
    with pytest.raises(DataError):
        deliver(url, [row(score=0)])

    assert rows(url, "SELECT status FROM sqp.refresh_audit_log") == [("failed",)]


def test_a_number_wider_than_its_column_refuses_the_whole_batch(url):
    wide = {"Total Click Rate": 34_210.5, "Search Query Score": 123_456_789}
    tolerate(url, 0.5)

    summary = deliver(url, [row(wide), row({"Total Click Rate": 1e30}, query="red widget")])

    assert summary.counts.quarantined == 1
    assert held(url, "total_click_rate, search_query_score") == [
        (Decimal("34210.5000"), 123_456_789)
    ]


def test_a_key_without_one_of_its_parts_lands_where_no_query_finds_it(url):
    tolerate(url, 1)
    half = [row({title: None}) for title in ("Marketplace", "Search Query", "Date")]
    (batch,) = source_table([*half, row({"Child ASIN": None, "Parent ASIN": None})]).to_batches()

    summary = refresh(url, Delivery({WEEK: [batch]}), RefreshRequest("half keys"))

    assert (summary.counts.quarantined, held(url)) == (4, [])


def test_the_last_day_of_a_week_falls_between_two_weeks(environment, source):
    last_moment = datetime(2025, 8, 16, 23, 59, 59, 999_999, tzinfo=UTC)
    source.write([row({"Date": last_moment}), row({"Date": last_moment + timedelta(seconds=1)})])
    bigquery_source = BigQuerySource(environment, SEARCH_QUERY_PERFORMANCE, [WEEK])

    summary = refresh(environment.database_url, bigquery_source, RefreshRequest("saturday"))

    assert summary.counts.inserted == 1
    assert held(environment.database_url, "start_date, end_date") == [(WEEK.start, WEEK.end)]


def test_two_kinds_of_null_and_zero_make_one_average(url):
    deliver(url, [row(impressions=(1000, 1)), row(day=BEFORE, impressions=(9000, 9))])
    rolled_up(url, "monthly_summary", SUNDAY)

    with psycopg.connect(url) as connection:
        rows_found = connection.execute(
            "SELECT impression_share, 100.0 * asin_impressions / market_impressions"
            " FROM sqp.monthly_summary"
        ).fetchall()
    assert rows_found == [(Decimal("0.1000"), Decimal("0.1"))]
