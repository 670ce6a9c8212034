"""A table whose rows are altered as they are written is never taken for what its source says."""

import pytest

from sqp_refresh.errors import DataError
from sqp_refresh.extract.source import BigQuerySource
from sqp_refresh.model.tables import DAILY_SQP_DATA
from sqp_refresh.refresh.request import RefreshRequest
from sqp_refresh.refresh.result import RefreshResult
from sqp_refresh.refresh.run import refresh
from sqp_refresh.settings import Settings
from sqp_refresh_tests.helpers import oracle
from sqp_refresh_tests.helpers.database import execute, rows
from sqp_refresh_tests.helpers.nights import read_tables, refresh_all
from sqp_refresh_tests.helpers.rows import SourceTable
from sqp_refresh_tests.helpers.weeks import WEEKS, three_weeks

BODY = "LANGUAGE plpgsql AS 'BEGIN {} END'"
ROW_TO_5 = BODY.format("NEW.ctr := 5; RETURN NEW;")
TABLE_TO_5 = BODY.format("UPDATE sqp.daily_sqp_data SET ctr = 5 WHERE ctr <> 5; RETURN NULL;")
ON_TABLE = "ON sqp.daily_sqp_data"
DROP = f"DROP TRIGGER clamp {ON_TABLE}"
ONCE = "FOR EACH {} WHEN (pg_trigger_depth() = 0)"
ALTERATIONS = {
    "before each row": (ROW_TO_5, "CREATE TRIGGER clamp BEFORE INSERT OR UPDATE {} FOR EACH ROW"),
    "after each row": (
        TABLE_TO_5,
        f"CREATE TRIGGER clamp AFTER INSERT OR UPDATE {{}} {ONCE.format('ROW')}",
    ),
    "after a statement": (
        TABLE_TO_5,
        f"CREATE TRIGGER clamp AFTER INSERT OR UPDATE {{}} {ONCE.format('STATEMENT')}",
    ),
    "at the commit": (
        TABLE_TO_5,
        "CREATE CONSTRAINT TRIGGER clamp AFTER INSERT OR UPDATE {} DEFERRABLE INITIALLY DEFERRED "
        + ONCE.format("ROW"),
    ),
}


@pytest.fixture
def url(environment: Settings, source: SourceTable) -> str:
    """A database with three weeks in BigQuery, of which none is loaded."""
    source.write(three_weeks())
    return environment.database_url


def create_trigger(url: str, function: str, trigger: str) -> None:
    execute(url, f"CREATE FUNCTION public.clamp() RETURNS trigger {function}")
    execute(url, f"{trigger.format(ON_TABLE)} EXECUTE FUNCTION public.clamp()")


def daily(settings: Settings) -> RefreshResult:
    source = BigQuerySource(settings, DAILY_SQP_DATA, WEEKS)
    return refresh(settings.database_url, source, RefreshRequest("r"))


def assert_right(settings: Settings) -> None:
    expected = oracle.expected_tables(three_weeks())["daily_sqp_data"]
    oracle.assert_equal(read_tables(settings)["daily_sqp_data"], expected, "daily_sqp_data")


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_a_trigger_that_alters_rows_is_a_warning_by_name_and_mended_once_it_is_gone(
    environment, url, alteration
):
    create_trigger(url, *ALTERATIONS[alteration])

    first, second = daily(environment), daily(environment)

    for done in (first, second):
        assert done.outcome["status"] == "warning"
        assert "2 rows of 2025-07-27 are not as they were written" in done.warnings[0]
        assert "trigger clamp" in done.warnings[0]
        assert done.metadata["reconciliation"]["verdict"] == "FAIL"
    execute(url, DROP)
    assert daily(environment).outcome["status"] == "success"
    assert_right(environment)
    assert daily(environment).loaded == {}


def test_a_trigger_of_a_derived_table_is_found_too(environment, url):
    execute(url, f"CREATE FUNCTION public.clamp() RETURNS trigger {ROW_TO_5}")
    execute(
        url,
        "CREATE TRIGGER clamp BEFORE INSERT OR UPDATE ON sqp.yearly_summary FOR EACH ROW"
        " EXECUTE FUNCTION public.clamp()",
    )

    done = refresh_all(environment)["yearly_summary"]

    assert "BEFORE ROW trigger clamp" in done.warnings[0]
    execute(url, "DROP TRIGGER clamp ON sqp.yearly_summary")
    refresh_all(environment)
    expected = oracle.expected_tables(three_weeks())["yearly_summary"]
    oracle.assert_equal(read_tables(environment)["yearly_summary"], expected, "yearly_summary")


def test_a_trigger_that_is_created_during_a_refresh_is_found_too(environment, url, monkeypatch):
    from sqp_refresh.refresh.periods import load_periods

    original, planned = load_periods.load_periods, []

    def load(url, session, state):
        planned.append(state.plan.target.is_altered)
        create_trigger(url, *ALTERATIONS["before each row"])
        original(url, session, state)

    monkeypatch.setattr("sqp_refresh.refresh.run.load_periods", load)

    done = daily(environment)

    assert planned == [False]
    assert "BEFORE ROW trigger clamp" in done.warnings[0]


def test_a_column_that_is_narrower_than_its_source_is_a_warning(environment, url):
    execute(url, "ALTER TABLE sqp.daily_sqp_data ALTER COLUMN ctr TYPE numeric(10,1)")

    assert "the type numeric(10,1) of column ctr" in daily(environment).warnings[0]

    execute(url, "ALTER TABLE sqp.daily_sqp_data ALTER COLUMN ctr TYPE numeric(10,4)")
    assert daily(environment).outcome["status"] == "success"
    assert_right(environment)


@pytest.mark.parametrize("state", ["DISABLE", "ENABLE REPLICA"])
def test_a_trigger_that_does_not_fire_is_none(environment, url, state):
    create_trigger(url, *ALTERATIONS["before each row"])
    execute(url, f"ALTER TABLE sqp.daily_sqp_data {state} TRIGGER clamp")

    assert daily(environment).outcome["status"] == "success"
    assert_right(environment)


def test_a_trigger_that_alters_no_value_is_no_warning(environment, url):
    touched = BODY.format("NEW.updated_at := now(); RETURN NEW;")
    create_trigger(url, touched, "CREATE TRIGGER clamp BEFORE INSERT OR UPDATE {} FOR EACH ROW")

    assert daily(environment).outcome["status"] == "success"
    assert daily(environment).loaded == {}
    assert_right(environment)


def test_a_trigger_that_keeps_rows_out_is_an_error(environment, url):
    keeps_out = BODY.format("RETURN NULL;")
    create_trigger(url, keeps_out, "CREATE TRIGGER clamp BEFORE INSERT {} FOR EACH ROW")

    with pytest.raises(DataError, match="a trigger or a rule of the table keeps rows out"):
        daily(environment)

    assert rows(url, "SELECT count(*) FROM sqp.daily_sqp_data") == [(0,)]
