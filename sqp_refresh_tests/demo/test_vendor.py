"""The demo's vendor dates its year by today, and changes it between two nights."""

from datetime import date, timedelta

import pyarrow as pa
import pytest

from sqp_refresh.demo.vendor import BAD_ROWS, Vendor, read_last_sunday, weeks_later_by
from sqp_refresh.demo.year import SUNDAYS, week_of_rows
from sqp_refresh_tests.helpers.rows import SourceTable

SATURDAY = SUNDAYS[-1] + timedelta(days=6)


@pytest.mark.parametrize(
    ("days", "weeks"), [(2, -1), (3, 0), (4, 0), (9, 0), (10, 1), (10 + 7 * 52, 53), (-200, -29)]
)
def test_a_week_is_delivered_three_days_after_its_end(days: int, weeks: int):
    assert weeks_later_by(SATURDAY + timedelta(days=days)) == weeks


@pytest.mark.parametrize("days", range(3, 17))
def test_the_newest_week_is_as_fresh_as_a_real_vendor_s(days: int):
    today = SATURDAY + timedelta(days=days)
    newest_end = SATURDAY + timedelta(weeks=weeks_later_by(today))

    assert 3 <= (today - newest_end).days <= 9


def test_a_year_that_is_later_holds_the_same():
    sunday, later = SUNDAYS[7], week_of_rows(SUNDAYS[7], weeks_later=3)

    dates = later["Date"].cast(pa.date32()).unique()
    assert dates.to_pylist() == [sunday + timedelta(weeks=3)]
    assert later.drop_columns("Date").equals(week_of_rows(sunday).drop_columns("Date"))


def test_a_week_comes_late_is_corrected_and_another_is_restated(source: SourceTable):
    vendor = Vendor(source.emulator, source.dataset, source.table, weeks_later=3, count=6)
    late, restated = vendor.late.start, vendor.restated.start
    rows = "SELECT COUNT(*) FROM {table} WHERE DATE(`Date`) = "
    wrong = "SELECT COUNT(*) FROM {table} WHERE `ASIN Click Count` > `Total Click Count`"
    impressions = (
        "SELECT SUM(`ASIN Impression Count`), COUNTIF(ABS(`ASIN Impression Share` - 100"
        " * `ASIN Impression Count` / `Total Query Impression Count`) > 0.00501),"
        f" COUNT(*) FROM {{table}} WHERE DATE(`Date`) = '{restated}'"
    )
    assert read_last_sunday(source.emulator, source.dataset, source.table) is None

    assert vendor.deliver_year(with_late_week=False)
    assert not vendor.deliver_year(with_late_week=True)
    last = read_last_sunday(source.emulator, source.dataset, source.table)
    assert last == vendor.weeks[-1].start == date(2025, 8, 31)
    assert source.sql(f"{rows}'{late}'") == [(0,)]
    ((before, _, count),) = source.sql(impressions)

    vendor.deliver_late_week()
    vendor.restate_week()
    of_week = week_of_rows(SUNDAYS[-3]).num_rows
    assert source.sql(f"{rows}'{late}'") == [(of_week,)]
    assert source.sql(wrong) == [(BAD_ROWS,)]
    ((after, wrong_shares, still),) = source.sql(impressions)
    assert before < after < 1.5 * before and (still, wrong_shares) == (count, 0)

    vendor.correct_late_week()
    assert source.sql(f"{rows}'{late}'") == [(of_week,)]
    assert source.sql(wrong) == [(0,)]
