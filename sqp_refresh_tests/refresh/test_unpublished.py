"""A value that cannot be held keeps back its own period, which is named, and no other."""

from datetime import date

import psycopg
import pyarrow as pa
import pytest

from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.errors import DataError, Rejected
from sqp_refresh.ledger.target_version import target_versions
from sqp_refresh.model.periods import Period
from sqp_refresh.model.tables import TABLES
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh.rollup.source import RollupSource
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.audit_log import audit
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.deliveries import Delivery, deliver, tolerate
from sqp_refresh_tests.helpers.nights import read_tables, refresh_all
from sqp_refresh_tests.helpers.rows import Row, row, source_table
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, MIDDLE, WEEKS, three_weeks

ODD = "B00000ODD1"
MOST = 2**63 - 1
JULY, AUGUST, YEAR = date(2025, 7, 1), date(2025, 8, 1), date(2025, 1, 1)


def without_impressions(day: date) -> Row:
    """Return a row whose rate is unknown, but great together with any impression."""
    return row(day=day, asin=ODD, query="odd", impressions=(0, 0), clicks=(20_000, 20_000))


def with_impression(day: date, query: str = "odd") -> Row:
    return row(day=day, asin=ODD, query=query, impressions=(1, 1), clicks=(0, 0))


def outcomes(settings: Settings) -> dict[str, str]:
    """Refresh every table; returns the message of each that fails."""
    messages = {}
    for table in TABLES.values():
        source = source_for(settings, table, WEEKS)
        try:
            refresh(settings.database_url, source, RefreshRequest("night"))
        except Rejected as rejected:
            messages[table.name] = str(rejected)
    return messages


def published(settings: Settings, table: str, column: str = "period_start") -> set[date]:
    query = f"SELECT DISTINCT {column} FROM sqp.{table}"
    return {day for (day,) in rows(settings.database_url, query)}


def rolled_up(url: str, table: str, *days: date) -> None:
    weeks = [Period.week_of(day) for day in days]
    refresh(url, RollupSource(TABLES[table], weeks), RefreshRequest("rollup"))


def take_for_loaded(url: str, table: str) -> None:
    """Have the ledger say that what the table holds is what was loaded."""
    with connect(url) as session, session.transaction():
        for period, held in target_versions(session, TABLES[table], WEEKS).items():
            session.execute(
                "UPDATE sqp.refresh_periods SET target_state = %(state)s"
                " WHERE table_name = %(table)s AND period_start = %(first)s",
                {"state": held.to_text(), "table": table, "first": period.start},
            )


def test_a_row_whose_rate_cannot_be_held_breaks_its_contract(environment, source):
    tolerate(environment.database_url, 0.5)
    good = three_weeks()
    source.write([*good, row(day=MIDDLE, query="odd", impressions=(9, 1), clicks=(30_000, 20_000))])

    refresh_all(environment)

    expected, now = oracle.expected_tables(good), read_tables(environment)
    for table in TABLES:
        oracle.assert_equal(now[table], expected[table], table)
    ((reasons,),) = rows(environment.database_url, "SELECT reasons FROM sqp.refresh_quarantine")
    assert reasons == [
        "100 * ASIN Click Count / ASIN Impression Count does not fit into numeric(10,4)"
    ]


def test_sums_whose_rate_cannot_be_held_keep_back_their_own_periods(environment, source):
    source.write(
        [
            *three_weeks(),
            without_impressions(MIDDLE),
            with_impression(MIDDLE, "another"),
            with_impression(LAST),
        ]
    )

    messages = outcomes(environment)

    overflow = "Postgres: numeric field overflow; check the value in the source"
    assert messages.keys() == {
        "daily_sqp_data",
        "monthly_summary",
        "quarterly_summary",
        "yearly_summary",
    }
    for table, period in (
        ("daily_sqp_data", f"the week of {MIDDLE}"),
        ("monthly_summary", f"the month of {AUGUST}"),
        ("quarterly_summary", f"the quarter of {JULY}"),
        ("yearly_summary", f"the year of {YEAR}"),
    ):
        assert messages[table].startswith(f"{period} is rejected in {table}: {overflow}")
        status, message, details, metadata = audit(environment, table)
        assert (status, message, details["kind"]) == ("failed", messages[table], "data")
        assert list(details["rejected"]) == metadata["rejected"]
    assert published(environment, "daily_sqp_data", "report_date") == {FIRST, LAST}
    assert published(environment, "monthly_summary") == {JULY}
    assert published(environment, "quarterly_summary") == set()
    assert published(environment, "weekly_summary") == {FIRST, MIDDLE, LAST}


def test_a_month_that_cannot_take_a_week_more_stays_as_it_is(migrated_database):
    deliver(migrated_database, [row(day=FIRST), without_impressions(MIDDLE)])
    rolled_up(migrated_database, "monthly_summary", FIRST, MIDDLE)
    before = rows(migrated_database, "SELECT * FROM sqp.monthly_summary ORDER BY period_start")
    deliver(migrated_database, [with_impression(LAST)])

    with pytest.raises(Rejected, match=f"the month of {AUGUST} is rejected in monthly_summary"):
        rolled_up(migrated_database, "monthly_summary", FIRST, LAST)

    assert rows(migrated_database, "SELECT * FROM sqp.monthly_summary ORDER BY 1") == before


def test_a_sum_in_the_table_that_is_too_great_to_add_to_is_computed_anew(migrated_database):
    url = migrated_database
    deliver(url, [row(day=MIDDLE, clicks=(542, 5))])
    rolled_up(url, "monthly_summary", MIDDLE)
    execute(url, f"UPDATE sqp.monthly_summary SET asin_clicks = {MOST}")
    deliver(url, [row(day=LAST, clicks=(542, 5))])

    rolled_up(url, "monthly_summary", LAST)

    assert rows(url, "SELECT asin_clicks, weeks_count FROM sqp.monthly_summary") == [(10, 2)]


def test_sums_of_counts_beyond_bigint_keep_back_their_periods_and_are_judged(migrated_database):
    url = migrated_database
    deliver(url, [*(row(day=day) for day in (FIRST, MIDDLE, LAST)), row(day=MIDDLE, query="red")])
    counts = [f"{whose}_count" for whose in ("asin_impression", "total_query_impression")]
    counts += ["asin_click_count", "total_click_count"]
    execute(
        url,
        f"UPDATE sqp.search_query_performance SET {', '.join(f'{c} = {MOST}' for c in counts)}"
        f" WHERE start_date >= '{MIDDLE}'",
    )
    take_for_loaded(url, "search_query_performance")

    with pytest.raises(Rejected, match=rf"the month of {AUGUST} is rejected .*bigint out of range"):
        rolled_up(url, "monthly_summary", FIRST, MIDDLE, LAST)

    assert rows(url, "SELECT period_start FROM sqp.monthly_summary") == [(JULY,)]
    rolled_up(url, "weekly_summary", FIRST, MIDDLE, LAST)
    with connect(url) as session, session.transaction():
        verdicts = run_checks(session, TABLES["weekly_summary"], WEEKS, today=LAST)
    (clicks,) = [verdict for verdict in verdicts if verdict.metric.name == "sum_asin_click_count"]
    assert (clicks.ok, clicks.value, clicks.expected) == (True, 3 * MOST + 5, 3 * MOST + 5)


def test_a_week_that_cannot_be_read_keeps_back_no_other(migrated_database):
    (good,) = source_table([row(day=FIRST)]).to_batches()

    class Broken(list[pa.RecordBatch]):
        def __iter__(self):
            raise DataError("BigQuery refused to read it: division by zero")

    weeks = {week: [good] if week.start != MIDDLE else Broken([good]) for week in WEEKS}
    with pytest.raises(Rejected, match=rf"the week of {MIDDLE} is rejected .*division by zero"):
        refresh(migrated_database, Delivery(weeks), RefreshRequest("broken"))

    loaded = rows(migrated_database, "SELECT start_date FROM sqp.search_query_performance")
    assert sorted(loaded) == [(FIRST,), (LAST,)]


def test_a_registered_table_of_which_postgres_refuses_a_value(environment, source):
    url = environment.database_url
    execute(
        url,
        "CREATE TABLE sqp.stock (day date, asin text, batch uuid, PRIMARY KEY (day, asin));"
        "UPDATE sqp.refresh_config SET is_enabled = false",
    )
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO sqp.refresh_config (table_name, custom_sync_params) VALUES ('stock',"
            " jsonb_build_object('source_table', %s::text, 'key', '[\"day\", \"asin\"]'::jsonb,"
            ' \'columns\', \'{"Date": "day", "Child ASIN": "asin", "Category": "batch"}\''
            "::jsonb, 'week_column', 'Date')) ON CONFLICT (table_schema, table_name) DO UPDATE"
            " SET is_enabled = true, custom_sync_params = excluded.custom_sync_params",
            [source.table],
        )
    batch = "5f2b1f7e-6a43-4c4f-9d43-2f6f4d2f0c11"
    source.write(
        [row(day=day, category="none" if day == MIDDLE else batch) for day in (FIRST, MIDDLE, LAST)]
    )
    table = read_catalog(environment).table("stock")

    with pytest.raises(Rejected, match=f"the week of {MIDDLE} is rejected in stock: Postgres: "):
        refresh(url, source_for(environment, table, WEEKS), RefreshRequest("registered"))

    assert sorted(rows(url, "SELECT day FROM sqp.stock")) == [(FIRST,), (LAST,)]
