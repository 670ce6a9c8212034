"""Create and fill the vendor's table in the emulator, as the demo and the tests do."""

from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from sqp_refresh.demo.servers import Emulator, bigquery_client
from sqp_refresh.demo.source_table import (
    SOURCE_SCHEMA,
    call_deadline,
    create_source,
    fill_source,
    load_rows,
)
from sqp_refresh.demo.year import SUNDAYS, week_of_rows
from sqp_refresh.extract.client import storage_client
from sqp_refresh.extract.storage_read import open_session, session_batches, session_schema
from sqp_refresh.model.tables import SOURCE_COLUMNS
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.rows import SourceTable, percent, row, source_table


def stored(source: SourceTable, restriction: str = "") -> pa.Table:
    """Read the table by the Storage Read API."""
    host = source.emulator.storage_host
    client = storage_client(Settings(BIGQUERY_STORAGE_EMULATOR_HOST=host))
    session = open_session(client, source.name, restriction=restriction)
    table = pa.Table.from_batches(list(session_batches(client, session)), session_schema(session))
    client.transport.close()
    return table


def ordered(table: pa.Table) -> pa.Table:
    key = [(title, "ascending") for title in ("Date", "Child ASIN", "Search Query")]
    return table.combine_chunks().sort_by(key)


def test_types_are_those_of_the_vendor():
    types = dict(SOURCE_SCHEMA)
    assert list(types) == [column.title for column in SOURCE_COLUMNS]
    assert types["Date"] == "TIMESTAMP"
    assert types["Child ASIN"] == "STRING"
    assert types["Total Click Count"] == "INTEGER"
    assert types["Total Click Rate"] == types["ASIN Click Share"] == "FLOAT"
    assert types["ASIN Median Click Price Amount"] == "NUMERIC"


def test_the_year_is_filled_in_once(source: SourceTable):
    count = "SELECT COUNT(*), COUNT(DISTINCT `Date`) FROM {table}"
    assert fill_source(source.emulator, source.dataset, source.table)
    filled = source.sql(count)
    last = f"`Date` = '{SUNDAYS[-1]}'"
    assert ordered(stored(source, last)).equals(ordered(week_of_rows(SUNDAYS[-1])))
    assert not fill_source(source.emulator, source.dataset, source.table)
    assert source.sql(count) == filled
    assert filled[0][1] == len(SUNDAYS)


def test_a_table_left_empty_is_filled(source: SourceTable):
    source.write([])
    assert fill_source(source.emulator, source.dataset, source.table)


def test_rows_of_the_user_are_left_alone(source: SourceTable):
    source.write([row()])
    assert not fill_source(source.emulator, source.dataset, source.table)
    assert source.sql("SELECT COUNT(*) FROM {table}") == [(1,)]


def test_the_table_is_partitioned_by_day_and_clustered(emulator: Emulator, dataset: str):
    with bigquery_client(emulator) as client:
        table = client.get_table(create_source(client, dataset, "made"), **call_deadline())
    assert table.time_partitioning and table.time_partitioning.field == "Date"
    assert table.clustering_fields == ["Child ASIN"]


@pytest.mark.parametrize(
    ("date_type", "given"),
    [("DATE", date(2025, 8, 10)), ("DATETIME", datetime(2025, 8, 10))],
)
def test_a_vendor_with_other_dates(source: SourceTable, date_type: str, given: date):
    source.write([row()], date_type=date_type)
    assert source.sql("SELECT `Date` FROM {table}") == [(given,)]
    assert stored(source)["Date"].to_pylist() == [given]


def test_a_vendor_with_numbers_as_text_and_without_a_column(source: SourceTable):
    source.write(
        [row(), row({"Total Click Count": "many"}, query="other")],
        as_string=["Total Click Count", "ASIN Median Click Price Amount"],
        without=["Marketplace"],
    )
    read = ordered(stored(source))
    assert read["Total Click Count"].to_pylist() == ["542", "many"]
    assert read["ASIN Median Click Price Amount"].to_pylist() == ["24.99", "24.99"]
    assert "Marketplace" not in read.column_names


def test_rows_are_appended_by_title(source: SourceTable):
    source.write([row()])
    turned = source_table([row(query="other")], without=["Product Name"])
    source.write(turned.select(turned.column_names[::-1]))
    assert source.sql(
        "SELECT `Search Query`, `Product Name`, `Category` FROM {table} ORDER BY 1"
    ) == [
        ("blue widget", "Brightwater Blue Widget", "Kitchen"),
        ("other", None, "Kitchen"),
    ]


def test_a_column_the_table_lacks_is_refused(emulator: Emulator, dataset: str):
    rows = source_table([row()]).append_column("Spend", pa.array([1]))
    with bigquery_client(emulator) as client:
        name = create_source(client, dataset, "made")
        with pytest.raises(ValueError, match="has no column Spend"):
            load_rows(client, name, rows)


def test_a_test_replaces_its_source(source: SourceTable):
    source.write([row(), row(query="other")])
    source.replace([row(query="third")])
    assert source.sql("SELECT `Search Query` FROM {table}") == [("third",)]
    source.replace([])
    assert source.sql("SELECT COUNT(*) FROM {table}") == [(0,)]


def test_the_default_row_is_like_amazon_s_own():
    default = row()
    assert default.keys() == {column.title for column in SOURCE_COLUMNS}
    assert default["ASIN Impression Share"] == 1.14 and default["ASIN Click Share"] == 0.92
    assert default["Total Median Click Price Amount"] == Decimal("22.49")


def test_ratios_of_zero_are_null():
    default = row(cart_adds=(11, 0), purchases=(0, 0))
    assert default["ASIN Cart Add Share"] == 0 and default["ASIN Purchase Share"] is None
    assert default["Total Median Cart Add Price Amount"] is not None
    assert default["ASIN Median Cart Add Price Amount"] is None
    assert default["Total Median Purchase Price Amount"] is None
    assert default["Total Purchase Rate"] == 0


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [(230, 20_110, 1.14), (1, 800, 0.13), (3, 800, 0.38), (8, 8405, 0.1), (0, 7, 0), (0, 0, None)],
)
def test_percent_rounds_half_away_from_zero(part: int, whole: int, expected: float | None):
    assert percent(part, whole) == expected


def test_a_title_that_the_source_lacks_is_a_mistake():
    with pytest.raises(AssertionError, match="no such column"):
        row({"Total Clicks": 7})
