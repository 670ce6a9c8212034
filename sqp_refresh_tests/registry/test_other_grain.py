"""A registered table that is loaded by another grain than before, e.g. no more as a whole."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from sqp_refresh.checks.run_checks import run_checks
from sqp_refresh.cli.console import show_outcome
from sqp_refresh.control import quarantine
from sqp_refresh.model.periods import ALL_TIME, Grain, Period, is_of_grain, weeks_between
from sqp_refresh.postgres.session import connect
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.run import refresh
from sqp_refresh.refresh.sources import source_for
from sqp_refresh.registry.catalog import read_catalog
from sqp_refresh_tests.helpers.commands import output, sqp_refresh
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.helpers.weeks import FIRST, LAST, WEEKS

SPENT = {
    "Day": pa.array([FIRST, LAST], pa.date32()),
    "Code": pa.array(["a", "b"]),
    "Spend": pa.array([Decimal("1"), Decimal("2")], pa.decimal128(38, 9)),
}
COLUMNS = ("--column", "Day=day", "--column", "Code=code", "--column", "Spend=spend")


@pytest.fixture
def url(environment, emulator, dataset) -> str:
    from sqp_refresh.demo.servers import bigquery_client
    from sqp_refresh.demo.source_table import columns_of, create_source, load_rows

    spent = pa.table(SPENT)
    with bigquery_client(emulator) as client:
        create_source(client, dataset, "spend", schema=columns_of(spent.schema))
        load_rows(client, f"{emulator.project}.{dataset}.spend", spent)
    execute(
        environment.database_url,
        "CREATE TABLE sqp.spend (day date, code text, spend numeric(8,2), PRIMARY KEY (day, code))",
    )
    return environment.database_url


def register(*weeks: str) -> None:
    key = ("--key", "day", "--key", "code")
    output("register", "spend", "--source", "spend", *key, *COLUMNS, *weeks)


def refreshed(settings):
    table = read_catalog(settings).table("spend")
    source = source_for(settings, table, list(weeks_between(FIRST, LAST)))
    return refresh(settings.database_url, source, RefreshRequest("r"))


def checked(settings) -> dict[str, tuple]:
    table = read_catalog(settings).table("spend")
    with connect(settings.database_url) as session, session.transaction():
        verdicts = run_checks(session, table, None, today=datetime.now(UTC).date())
    return {verdict.metric.name: (verdict.value, verdict.ok) for verdict in verdicts}


def ledger(url: str) -> list[date]:
    query = "SELECT period_start FROM sqp.refresh_periods WHERE table_name = 'spend' ORDER BY 1"
    return [day for (day,) in rows(url, query)]


def test_a_table_registered_whole_then_by_week_and_whole_again(environment, url):
    register()
    assert refreshed(environment).counts.inserted == 2
    assert ledger(url) == [date.min]

    register("--week-column", "Day")
    # Before the next refresh, too: what the ledger has of another grain is none of its periods.
    assert checked(environment)["missing_weeks"][1] is not False
    by_week = refreshed(environment)
    assert (list(by_week.periods), by_week.counts.unchanged) == (WEEKS, 2)
    assert ledger(url) == [week.start for week in WEEKS]
    assert checked(environment)["row_count"] == (2, True)
    assert "metrics are as they should be" in sqp_refresh("check", "--table", "spend").stdout

    register()
    assert "row_count" in checked(environment)
    due = "SELECT next_refresh_at > now() FROM sqp.refresh_config WHERE table_name = 'spend'"
    execute(url, "UPDATE sqp.refresh_config SET next_refresh_at = now() WHERE table_name = 'spend'")
    whole = refreshed(environment)
    assert (list(whole.periods), whole.counts.unchanged) == ([ALL_TIME], 2)
    assert ledger(url) == [date.min]
    assert rows(url, due) == [(True,)]
    assert checked(environment)["row_count"] == (2, True)
    assert refreshed(environment).counts.read == 0


def test_rows_that_wait_for_a_period_of_another_grain_are_settled(environment, url):
    register()
    refreshed(environment)
    table = read_catalog(environment).table("spend")
    with connect(url) as session, session.transaction():
        quarantine.add(session, table, ALL_TIME, [({"Code": None}, ["no key"])], audit_log_id=1)
    register("--week-column", "Day")

    done = sqp_refresh("quarantine", "replay", "--table", "spend")

    assert done.returncode == 0, done.stdout + done.stderr
    with connect(url) as session:
        assert quarantine.count_waiting(session, ["spend"]) == {}


@pytest.mark.parametrize("grain", list(Grain))
def test_a_period_is_of_one_grain(grain):
    of_grain = {
        Grain.DAY: Period.week_of(date(2025, 6, 1)),
        Grain.WEEK: Period.week_of(date(2025, 6, 1)),
        Grain.MONTH: Period(date(2025, 6, 1), date(2025, 6, 30)),
        Grain.QUARTER: Period(date(2025, 4, 1), date(2025, 6, 30)),
        Grain.YEAR: Period(date(2025, 1, 1), date(2025, 12, 31)),
        Grain.TABLE: ALL_TIME,
    }
    for period in of_grain.values():
        assert is_of_grain(period, grain) == (period == of_grain[grain])


def test_every_failed_step_is_printed_with_its_message(environment, source: SourceTable):
    from io import StringIO

    from rich.console import Console

    printed = StringIO()
    console, url = Console(file=printed, width=200), environment.database_url
    failures = {
        "sqp__daily_sqp_data": "no rows",
        "spend_checks": "OverflowError: date value out of range",
        "": "the run was lost",
    }
    show_outcome(console, url, ["r"], ["daily_sqp_data"], failures)

    assert "daily_sqp_data not refreshed: no rows" in printed.getvalue()
    assert "spend_checks failed: OverflowError: date value out of range" in printed.getvalue()
    assert "the run failed: the run was lost" in printed.getvalue()
