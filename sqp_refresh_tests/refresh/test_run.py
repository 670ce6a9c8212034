"""What a night does to the eight tables, held against an independent computation of each."""

from datetime import date
from decimal import Decimal

import polars as pl
import psycopg
import pytest

from sqp_refresh.demo.year import week_of_rows
from sqp_refresh.errors import DataError, SchemaMismatch
from sqp_refresh.load import delta, merge
from sqp_refresh.load.copy import stage
from sqp_refresh.model.tables import TABLES as MODEL_TABLES
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.nights import FIRST, LAST, Nights, read_tables, refresh_all
from sqp_refresh_tests.helpers.rows import SourceTable, row, source_table
from sqp_refresh_tests.helpers.weeks import MIDDLE, three_weeks

TABLES = list(oracle.KEYS)


@pytest.fixture
def nights(environment: Settings, source: SourceTable) -> Nights:
    return Nights(environment, source)


def staged(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each COPY into staging from now on."""
    sent: list[int] = []

    def counted(*arguments) -> int:
        sent.append(stage(*arguments))
        return sent[-1]

    for strategy in (delta, merge):
        monkeypatch.setattr(strategy, "stage", counted)
    return sent


def test_realistic_weeks_land_to_the_last_value_and_a_second_night_changes_nothing(nights):
    delivered = pl.concat(
        [pl.from_arrow(week_of_rows(sunday)) for sunday in (FIRST, MIDDLE, LAST)]  # type: ignore[list-item]
    )
    nights.source.write(delivered.to_arrow().cast(week_of_rows(FIRST).schema))
    after = oracle.expected_tables(delivered.to_dicts())

    nights.refreshed(after, delivered.height)
    again = nights.refreshed(after, delivered.height, force=True)

    assert {table: counts.changed for table, counts in again.items()} == dict.fromkeys(TABLES, 0)
    assert {counts.read for counts in nights.refreshed(after, delivered.height).values()} == {0}


def test_a_restated_week_updates_what_differs_and_nothing_else(nights):
    rows = three_weeks()
    nights.after(rows)

    rows[5] = row(day=MIDDLE, query="red widget", impressions=(20_110, 231), clicks=(540, 7))
    counts = nights.after(rows, force=True)

    assert counts["search_query_performance"].updated == 1
    assert counts["search_query_performance"].unchanged == len(rows) - 1
    assert counts["monthly_summary"].updated == 1


def test_of_a_restated_week_only_the_rows_that_differ_are_sent(nights, monkeypatch):
    rows = three_weeks()
    nights.after(rows)
    sent = staged(monkeypatch)

    rows[5] = row(day=MIDDLE, query="red widget", impressions=(20_110, 231), clicks=(540, 7))
    rows.append(row(day=LAST, query="green widget"))
    counts = nights.after(rows)

    # Of one table by rows and two by ASIN, two weeks each.
    assert sent == [1] * 6
    assert counts["search_query_performance"].unchanged == 7


def test_a_row_for_another_is_found_although_the_week_has_as_many_as_before(
    nights, environment, monkeypatch
):
    rows = three_weeks()
    nights.after(rows)
    sent = staged(monkeypatch)

    rows[-1] = row(day=LAST, query="green widget")
    counts = nights.after(rows)

    assert counts["search_query_performance"].deleted == 1
    assert counts["search_query_performance"].inserted == 1
    assert sent.count(len(rows) // 3) == 1
    with psycopg.connect(environment.database_url) as connection:
        skipped = connection.execute(
            "SELECT sync_metadata->'read_twice' FROM sqp.refresh_audit_log"
            " WHERE table_name = 'search_query_performance' ORDER BY id"
        ).fetchall()
    assert skipped == [([],), ([str(LAST)],)]


def test_an_edit_of_a_week_that_was_restated_too_is_mended(nights, environment):
    rows = three_weeks()
    nights.after(rows)
    with psycopg.connect(environment.database_url) as connection:
        connection.execute("UPDATE sqp.search_query_performance SET asin_click_count = 0")

    rows[0] = row(day=FIRST, asin="B000000001", query="blue widget", volume=801)
    nights.source.replace(rows)
    summaries = refresh_all(environment)

    assert summaries["search_query_performance"].counts.updated == len(rows)
    for table, expected in oracle.expected_tables(rows).items():
        oracle.assert_equal(read_tables(environment)[table], expected, table)


def test_a_restatement_that_somebody_has_entered_by_hand_is_known_from_then_on(nights, environment):
    restated = three_weeks(volume=801)
    nights.after(restated)
    with psycopg.connect(environment.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE by_hand AS SELECT * FROM sqp.search_query_performance")
        nights.after(three_weeks())
        connection.execute("DELETE FROM sqp.search_query_performance")
        connection.execute("INSERT INTO sqp.search_query_performance SELECT * FROM by_hand")
    nights.source.replace(restated)

    first = refresh_all(environment)["search_query_performance"]
    again = refresh_all(environment)["search_query_performance"]

    assert (first.counts.read, first.counts.changed) == (len(restated), 0)
    assert (again.counts.read, again.rows_left) == (0, len(restated))


def test_updated_at_moves_only_where_a_value_did(nights, environment):
    rows = three_weeks()
    nights.after(rows)
    rows[0] = row(day=FIRST, asin="B000000001", query="blue widget", volume=801)
    nights.after(rows)

    with psycopg.connect(environment.database_url) as connection:
        moved = connection.execute(
            "SELECT start_date, asin, search_query FROM sqp.search_query_performance"
            " WHERE updated_at > created_at"
        ).fetchall()
    assert moved == [(FIRST, "B000000001", "blue widget")]


def test_a_row_that_vanished_from_a_week_is_deleted(nights):
    rows = three_weeks()
    nights.after(rows)

    counts = nights.after(rows[:-1])

    assert counts["search_query_performance"].deleted == 1
    assert counts["weekly_summary"].deleted == 1


def test_a_week_that_arrives_late_is_inserted(nights):
    rows = three_weeks()
    nights.after([line for line in rows if line["Date"] != MIDDLE])

    counts = nights.after(rows)

    assert counts["search_query_performance"].inserted == 4
    assert counts["daily_sqp_data"].inserted == 2
    landed = "SELECT table_name FROM sqp.refresh_freshness WHERE landing_lag_hours BETWEEN 0 AND 1"
    with psycopg.connect(nights.settings.database_url) as connection:
        assert {name for (name,) in connection.execute(landed)} == {
            name for name, table in MODEL_TABLES.items() if table.source
        }


def test_of_two_dates_in_a_week_the_later_counts_and_the_other_is_reported(nights):
    wednesday = date(2025, 8, 6)
    rows = three_weeks()
    rows.append(row(day=wednesday, query="blue widget", impressions=(500, 50), clicks=(40, 4)))
    rows.append(row(day=wednesday, query="green widget"))

    counts = nights.after(rows)

    assert counts["search_query_performance"].superseded == 1
    assert counts["daily_sqp_data"].superseded == 0


def test_rows_that_contradict_each_other_are_settled_the_same_way_in_every_table(nights):
    rows = three_weeks()
    rows.append(row(day=FIRST, query="blue widget", volume=900, impressions=(30, 3)))
    rows.append(dict(rows[1]))

    counts = nights.after(rows)

    assert counts["search_query_performance"].superseded == 2


def test_two_marketplaces_keep_the_same_asin_and_query_apart(nights):
    rows = three_weeks() + three_weeks(marketplace="DE", impressions=(70, 7))

    counts = nights.after(rows)

    assert counts["search_query_performance"].inserted == len(rows)


@pytest.mark.parametrize("date_type", ["DATE", "DATETIME"])
def test_a_date_may_have_any_of_its_types(nights, date_type):
    nights.after(three_weeks(), date_type=date_type)


def test_numbers_may_come_as_strings(nights):
    rows = three_weeks(price="19.995", market_price="0.1")
    titles = [title for title in rows[0] if "Count" in title or "Price" in title]
    titles += ["ASIN Click Share", "Total Purchase Rate", "Search Query Volume"]

    nights.after(rows, as_string=titles)

    ((_, stored),) = [
        line
        for line in nights.expected["search_query_performance"].items()
        if line[0][0] == FIRST and line[0][3:] == ("B000000001", "blue widget")
    ]
    assert stored["asin_median_click_price"] == Decimal("20.00")


@pytest.mark.parametrize("bad", ["12,5", "", "n/a"])
def test_a_string_that_is_no_number_stops_its_week_and_is_never_zero(nights, environment, bad):
    good = three_weeks()
    nights.after(good, as_string=["Total Click Count"])
    rows = [*good, row({"Total Click Count": bad}, day=LAST, query="new")]
    nights.source.replace(rows, as_string=["Total Click Count"])

    with pytest.raises(DataError):
        refresh_all(environment)

    for table, rows_held in read_tables(environment).items():
        oracle.assert_equal(rows_held, nights.expected[table], table)


def test_an_empty_week_deletes_nothing_and_is_reported(nights, environment):
    rows = three_weeks()
    nights.after(rows)
    nights.source.replace([line for line in rows if line["Date"] != MIDDLE])

    summaries = refresh_all(environment)

    for table, rows_held in read_tables(environment).items():
        oracle.assert_equal(rows_held, nights.expected[table], table)
    for table, rows_of_week in (
        ("search_query_performance", 4),
        ("asin_performance_data", 2),
        ("daily_sqp_data", 2),
    ):
        assert summaries[table].outcome["status"] == "warning"
        assert summaries[table].warnings == [
            f"the week of {MIDDLE} is empty in the source; {rows_of_week} rows of it were kept"
        ]


def test_a_source_without_any_row_is_a_warning_not_a_success(nights, environment):
    nights.source.write([])

    summaries = refresh_all(environment)

    assert summaries["search_query_performance"].outcome == {
        "status": "warning",
        "error_message": "the source has no rows from 2025-07-27 to 2025-08-16",
    }


def test_a_title_that_is_missing_or_empty_never_overwrites_a_known_one(nights):
    nights.after(three_weeks())
    missing = {FIRST: None, MIDDLE: "", LAST: " \t\r\n"}
    titles = ("Client Name", "Product Name", "Category")

    rows = [line | dict.fromkeys(titles, missing[line["Date"]]) for line in three_weeks()]
    counts = nights.after(rows, force=True)

    assert counts["asin_performance_data"].unchanged == 6
    assert all(line["product_title"] for line in nights.expected["asin_performance_data"].values())


def test_a_row_that_does_not_count_may_know_the_title(nights):
    thursday = date(2025, 8, 7)
    later = [{**line, "Date": thursday, "Product Name": None} for line in three_weeks()[4:8]]

    counts = nights.after(three_weeks() + later)

    assert counts["search_query_performance"].superseded == 4
    assert all(line["product_title"] for line in nights.expected["asin_performance_data"].values())


def test_an_empty_text_of_a_later_day_hides_no_title_and_no_parent(nights):
    thursday = date(2025, 8, 7)
    empty = {"Date": thursday, "Product Name": "", "Client Name": " ", "Parent ASIN": ""}

    nights.after(three_weeks() + [line | empty for line in three_weeks()[4:8]])

    for line in nights.expected["asin_performance_data"].values():
        assert line["product_title"] and line["brand"] and line["parent_asin"]


def test_a_title_that_changed_is_taken(nights):
    nights.after(three_weeks())

    counts = nights.after(three_weeks(title="A better title"))

    assert counts["asin_performance_data"].updated == 6
    assert counts["search_performance_summary"].updated == 12


def test_nothing_is_null_where_it_is_known_nor_zero_where_it_is_not(nights):
    rows = three_weeks(clicks=(0, 0), cart_adds=(0, 0), purchases=(0, 0))

    nights.after(rows)

    line = next(iter(nights.expected["search_query_performance"].values()))
    assert line["asin_click_share"] is None
    assert line["asin_median_click_price"] is None
    assert line["asin_click_count"] == 0


def test_the_parent_stands_in_for_a_missing_or_empty_child(nights):
    missing = {"green widget": None, "pink widget": "", "grey widget": " "}
    orphans = [row(asin=child, query=query) for query, child in missing.items()]

    nights.after([*three_weeks(), *orphans])

    held = {key[3:] for key in nights.expected["search_query_performance"]}
    assert {("B00PARENT1", query) for query in missing} <= held


def test_optional_columns_may_be_missing(nights, environment, monkeypatch):
    monkeypatch.setenv("SQP_MARKETPLACE", "UK")
    nights.settings = Settings.read()
    missing = ("Marketplace", "Client Name", "Product Name", "Category")
    rows = [
        {title: value for title, value in line.items() if title not in missing}
        for line in three_weeks()
    ]

    nights.after(rows, marketplace="UK", without=missing)

    assert {key[2] for key in nights.expected["asin_performance_data"]} == {"UK"}


def test_a_missing_required_column_is_named_and_nothing_is_written(nights, environment):
    nights.source.write(three_weeks(), without=("ASIN Click Count", "Search Query Volume"))

    with pytest.raises(SchemaMismatch, match="no column 'Search Query Volume', 'ASIN Click Count'"):
        refresh_all(environment)
    assert not read_tables(environment)["asin_performance_data"]


def test_a_type_that_does_not_convert_is_named(nights, environment):
    rows = [{**line, "Search Query": line["Search Query Volume"]} for line in three_weeks()]
    delivered = source_table(rows, as_string=["Search Query"])
    place = delivered.schema.get_field_index("Search Query")
    volumes = delivered["Search Query Volume"]
    nights.source.write(delivered.set_column(place, "Search Query", volumes))

    with pytest.raises(SchemaMismatch, match=r"'Search Query' of .* is INTEGER.*expected one of"):
        refresh_all(environment)


@pytest.mark.parametrize("with_schema", [True, False])
def test_a_view_gives_the_same_rows_as_its_table(nights, environment, monkeypatch, with_schema):
    rows = three_weeks()
    nights.source.write(rows)
    nights.source.make_view("view_of_source", with_schema=with_schema)
    monkeypatch.setenv("BIGQUERY_SOURCE_TABLE", "view_of_source")

    summaries = refresh_all(Settings.read())

    assert summaries["search_query_performance"].stats.method.startswith("query")
    for table, expected in oracle.expected_tables(rows).items():
        oracle.assert_equal(read_tables(environment)[table], expected, table)


def test_an_edit_by_somebody_else_is_found_and_mended(nights, environment):
    nights.after(three_weeks())
    with psycopg.connect(environment.database_url) as connection:
        connection.execute("UPDATE sqp.search_query_performance SET asin_click_count = 0")
        connection.execute("DELETE FROM sqp.daily_sqp_data")

    summaries = refresh_all(environment)

    assert summaries["search_query_performance"].counts.updated == 12
    assert summaries["daily_sqp_data"].counts.inserted == 6
    for table, rows_held in read_tables(environment).items():
        oracle.assert_equal(rows_held, nights.expected[table], table)


def test_only_the_weeks_asked_for_are_touched(nights, environment):
    rows = three_weeks()
    nights.after(rows)
    nights.source.replace(three_weeks(volume=999))

    summaries = refresh_all(environment, MIDDLE, MIDDLE)

    assert summaries["search_query_performance"].counts.updated == 4
    with psycopg.connect(environment.database_url) as connection:
        weeks = connection.execute(
            "SELECT DISTINCT start_date FROM sqp.search_query_performance"
            " WHERE search_query_volume = 999"
        ).fetchall()
    assert weeks == [(MIDDLE,)]
