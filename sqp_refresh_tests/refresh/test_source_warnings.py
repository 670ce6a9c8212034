"""Rows that keep their contract and are odd all the same: they are counted, and said by name."""

from datetime import UTC, date, datetime, timedelta

import pytest

from sqp_refresh.checks.evaluate import Verdict
from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers.audit_log import audit
from sqp_refresh_tests.helpers.database import rows
from sqp_refresh_tests.helpers.rows import row
from sqp_refresh_tests.helpers.weeks import LAST, MIDDLE, WEEKS, three_weeks

QUERIES, ASINS, DAYS = "search_query_performance", "asin_performance_data", "daily_sqp_data"
FILLED = (QUERIES, ASINS, DAYS)
KINDS = ["TIMESTAMP", "DATETIME", "DATE"]


def refreshed(settings: Settings, table: str = QUERIES) -> tuple[str, str]:
    """Refresh three weeks of a table; return how that ended, and with which words."""
    source = source_for(settings, TABLES[table], WEEKS)
    refresh(settings.database_url, source, RefreshRequest("odd rows"))
    status, message, *_ = audit(settings, table)
    return status, message or ""


def verdict(settings: Settings, check: str, table: str = QUERIES) -> Verdict:
    with connect(settings.database_url) as session, session.transaction():
        (only,) = run_checks(session, TABLES[table], WEEKS, today=LAST, only={check})
    return only


def failing(settings: Settings, check: str, table: str = QUERIES) -> dict[str, object]:
    """What a check finds wrong, by its period; it never does more than warn."""
    judged = verdict(settings, check, table)
    assert not judged.is_error
    return {measurement.period: measurement.value for measurement in judged.failing}


@pytest.fixture
def view(source, monkeypatch) -> str:
    """The name of a view of the source that is to be refreshed from."""
    monkeypatch.setenv("BIGQUERY_SOURCE_TABLE", "a_view")
    return "a_view"


# -- rows that no refresh will look at -------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_rows_dated_where_no_refresh_looks_are_news_once_and_fail_a_check_for_ever(
    environment, source, kind
):
    next_week = datetime.now(UTC).date() + timedelta(days=7)
    before_start = environment.REFRESH_START_DATE - timedelta(days=1)
    odd = [date(2206, 1, 3), date(1970, 1, 1), next_week, before_start]
    in_reach = [environment.REFRESH_START_DATE, datetime.now(UTC).date()]
    source.write(
        [*three_weeks(), *(row(day=day) for day in [*odd, *in_reach]), row({"Date": None})],
        date_type=kind,
    )

    status, message = refreshed(environment)

    assert status == "warning"
    assert "4 rows of the source are dated from 1970-01-01 to 2206-01-03, before " in message
    assert "1 rows of the source have no date" in message
    for _ in range(2):
        out_of_reach = audit(environment)[-1]["out_of_reach"]
        assert (out_of_reach["misdated"], out_of_reach["undated"]) == (4, 1)
        assert (out_of_reach["first"], out_of_reach["last"]) == ("1970-01-01", "2206-01-03")
        failures = failing(environment, "no_rows_out_of_reach")
        assert failures == {"1970-01-01 to 2206-01-03": 5}
        assert refreshed(environment) == ("success", "")

    source.write([row(day=date(2019, 7, 7))], date_type=kind)

    status, message = refreshed(environment)
    assert status == "warning"
    assert message.startswith("5 rows of the source are dated from 1970-01-01 to 2206-01-03")


@pytest.mark.parametrize("table", FILLED)
def test_a_view_and_tables_that_are_aggregated_tell_of_rows_out_of_reach_too(
    environment, source, view, table
):
    source.write([*three_weeks(), row(day=date(1970, 1, 1))])
    source.make_view(view, with_schema=True)

    status, message = refreshed(Settings.read(), table)

    assert (status, message[:51]) == (
        "warning",
        "1 row of the source is dated 1970-01-01, before REF",
    )
    assert failing(environment, "no_rows_out_of_reach", table) == {"1970-01-01 to 1970-01-01": 1}


# -- several clients with one key ------------------------------------------------------------------


@pytest.mark.parametrize("is_view", [False, True])
def test_two_clients_with_one_key_are_named(environment, source, view, is_view):
    both = [row(day=MIDDLE, query="shared", brand=brand) for brand in ("Alder", "Brightwater")]
    source.write(
        [*three_weeks(), *both, row(day=LAST, query="twice"), row(day=LAST, query="twice")]
    )
    source.make_view(view, with_schema=True)
    settings = Settings.read() if is_view else environment

    for table in FILLED:
        status, message = refreshed(settings, table)

        assert status == "warning"
        assert message.startswith("1 key has rows of several clients ('Alder', 'Brightwater')")
        assert audit(settings, table)[-1]["shared_keys"] == 1
        assert failing(settings, "one_client_per_key", table) == {str(MIDDLE): 1}
    assert audit(settings)[-1]["superseded"] == 2


def test_an_asin_of_two_clients_shows_one_of_them_although_no_row_is_superseded(
    environment, source
):
    source.write([*three_weeks(brand="Alder"), row(day=LAST, query="other", brand="Cedar")])

    messages = {table: refreshed(environment, table)[1] for table in FILLED}

    assert messages[QUERIES] == ""
    assert failing(environment, "one_client_per_key", QUERIES) == {}
    for table in (ASINS, DAYS):
        assert "('Alder', 'Cedar')" in messages[table]
        assert failing(environment, "one_client_per_key", table) == {str(LAST): 1}


def test_a_client_without_a_name_and_a_source_without_clients_share_nothing(environment, source):
    unnamed = [row(day=LAST, query="shared", brand=brand) for brand in (None, " ", "Alder")]
    source.write([*three_weeks(brand="Alder"), *unnamed])

    for table in FILLED:
        assert refreshed(environment, table) == ("success", "")
        assert failing(environment, "one_client_per_key", table) == {}

    source.replace([*three_weeks(volume=900), *unnamed], without=["Client Name"])

    assert "client" not in refreshed(environment)[1].partition("'Client Name'")[2]
    assert verdict(environment, "one_client_per_key").ok is None


# -- midnight elsewhere ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TIMESTAMP", "DATETIME"])
def test_a_date_that_is_midnight_in_another_zone_is_told_with_its_hours(environment, source, kind):
    zone = UTC if kind == "TIMESTAMP" else None
    midnights = [
        datetime(2025, 8, 9, 22, tzinfo=zone),  # Sunday in Berlin, and of the week before in UTC
        datetime(2025, 8, 9, 23, tzinfo=zone),
        datetime(2025, 8, 10, 5, 30, tzinfo=zone),
    ]
    odd = [row({"Date": at}, query=f"query {at:%H}") for at in midnights]
    source.write([*three_weeks(), *odd], date_type=kind)

    for table in FILLED:
        status, message = refreshed(environment, table)

        assert status == "warning"
        assert message.startswith("3 rows are not dated at midnight UTC but at 05:30, 22:00, 23:00")
        assert audit(environment, table)[-1]["off_midnight"] == 3
        failures = failing(environment, "dates_are_midnight_utc", table)
        assert failures == {str(MIDDLE): 2, str(LAST): 1}
    weeks = rows(
        environment.database_url,
        f"SELECT start_date FROM sqp.{QUERIES} WHERE search_query LIKE 'query%' ORDER BY 1",
    )
    assert weeks == [(MIDDLE,), (MIDDLE,), (LAST,)]


def test_dates_without_a_time_of_day_are_not_judged(environment, source):
    source.write(three_weeks(), date_type="DATE")

    assert refreshed(environment) == ("success", "")
    assert verdict(environment, "dates_are_midnight_utc").ok is None
